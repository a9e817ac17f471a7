"""Makes local_globus_compute importable for the tests, wherever they are run."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
