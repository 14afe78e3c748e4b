"""What a training minimises: plain, Group DRO and its variants."""
