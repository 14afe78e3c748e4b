"""Every tolerance of the test suite, by name. What must be exact is compared with ==, not with one of these."""

FLOAT64 = 1e-12  # two float64 computations of the same few operations
FLOAT32 = 1e-6  # one float32 operation chain
FLOAT32_STEPS = 1e-6  # numbers of about one, after a few steps of an optimiser with its sums in another order
OFFICIAL = 2e-6  # the authors' float32 code (recorded vectors say so)
FIXTURE = 6e-7  # numbers printed with six decimals
GRADIENT = 1e-5  # relative, float32 gradients through a model
BFLOAT16 = 2**-7  # bfloat16 with eight bits, its roundings in another order
GOLDEN = 1e-5  # golden curves on another processor than the recorded one
ALPHA_FIRST_STEP = 1e-7  # domain weights after one step, any number of processes and micro-batches
ALPHA_PATH = 1e-5  # the same after 50 steps
SMALL_BATCH = 1e-4  # averaged weights where a float16 rounding of one loss in 128 tokens shows
SOLVER = 1e-5  # weights by a general iterative solver, which stops early; its objective is good to the square
HELD = 0.15  # relative, memory of a process against arithmetic
SPLIT = 1e-3  # relative, weights and losses of a large model after a few steps in one process or split over several
