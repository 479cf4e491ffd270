"""Simulation: task families, batched worlds, simulated robots."""

import os
import sys

# Without a display, importing mujoco would try to open a window and print a warning. `sim.render`
# opens its own off-screen contexts.
if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL"} & set(os.environ):
    os.environ["MUJOCO_GL"] = "off"
