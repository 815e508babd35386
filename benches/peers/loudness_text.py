"""What loudness-tts would read for each line of English on standard input."""

import importlib.util
import sys

# The module alone: the package would load its engine.
package = importlib.util.find_spec("loudness_tts").submodule_search_locations[0]
spec = importlib.util.spec_from_file_location("textprep", f"{package}/textprep.py")
textprep = importlib.util.module_from_spec(spec)
sys.modules["textprep"] = textprep
spec.loader.exec_module(textprep)

for line in sys.stdin:
    segments = textprep.prepare(line.rstrip("\n"), "en-US")
    print(" ".join(segment.text for segment in segments))
