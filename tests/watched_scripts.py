"""Running scripts under the doctor, as a person would: from the command line."""

import json
import os
import subprocess
import sys


class Doctor:
    def __init__(self, folder):
        self.folder = folder

    def command(self, *arguments, check=None, **options):
        """Run `python -m stablesoftmax` in the folder; `check` is the status that is expected."""
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
        run = subprocess.run(
            [sys.executable, "-m", "stablesoftmax", *arguments],
            cwd=self.folder, env=environment, capture_output=True, text=True, timeout=120,
            check=False, **options,
        )  # fmt: skip
        assert "stablesoftmax/cli.py" not in run.stderr, run.stderr
        assert check is None or run.returncode == check, (run.returncode, run.stdout, run.stderr)
        return run

    def write(self, code, name="script.py"):
        (self.folder / name).write_text(code.lstrip("\n"), encoding="utf-8")
        return name

    def run(self, code, *options, arguments=(), check=None):
        """Run a script under the doctor; give the report as a dict, and the finished process."""
        script = self.write(code)
        command = ["run", "--report", "report.json", *options, script, *arguments]
        done = self.command(*command, check=check)
        return json.loads((self.folder / "report.json").read_text(encoding="utf-8")), done
