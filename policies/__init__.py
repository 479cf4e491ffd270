"""What learns: meta-reinforcement learning, evaluation, export."""

import os

# How OpenMP's threads wait for each other; it must be said before torch is imported. Left alone
# they spin for good: with any other busy process an update then takes seconds instead of
# milliseconds. Sleeping at once, they wake so slowly that a second thread gains nothing on networks
# as small as ours. Some 20 us of spinning first makes two threads 1.7 times as fast as one.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
