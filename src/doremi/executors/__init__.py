"""Who does the trainings of a run: this process, several on this machine, Ray, or `doremi job` under Slurm."""
