"""What stands in for the world: tasks, batched simulation, simulated robots."""

import os
import sys

# Without a display, importing mujoco would try for a window and complain. `sim.render` opens the
# off-screen contexts that it needs by itself.
if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL"} & set(os.environ):
    os.environ["MUJOCO_GL"] = "off"
