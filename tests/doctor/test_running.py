"""`run`: the line and the cause of scripts that print NaN; silence on those that do not."""

import subprocess
import sys

import pytest
from scripts import CLEAN, SCRIPTS, THOROUGH

# name -> script, the cause that is named first, and its line


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_line_and_the_cause(doctor, name):
    code, cause, line = SCRIPTS[name]
    report, done = doctor.run(code, check=1)
    first = report["findings"][0]
    assert (first["code"], first["where"]["line"]) == (cause, line), done.stderr
    assert cause in done.stderr
    assert not any("could not be looked at" in note for note in report["notes"])


@pytest.mark.parametrize("options", [(), ("--thorough",)], ids=["run", "thorough"])
@pytest.mark.parametrize("name", CLEAN)
def test_silence(doctor, name, options):
    report, _ = doctor.run(CLEAN[name], *options, check=0)
    assert all(finding["severity"] == "info" for finding in report["findings"])


def test_the_chain_and_the_operands(doctor):
    report, _ = doctor.run(SCRIPTS["function"][0])
    (first, *_) = report["findings"]
    assert [(step["line"], step["what"]) for step in first["evidence"]["chain"]] == [
        (3, "overflow in exp"),
        (4, "inf / inf"),
    ]
    (operand,) = first["evidence"]["operands"]
    assert (operand["name"], operand["shape"], operand["max"], operand["at"]) == (
        "x", [2, 2], 800, [1, 0],
    )  # fmt: skip
    assert first["where"]["function"] == "softmax"


SILENCED = """
import numpy as np
np.seterr(all="ignore")
class Net:
    def __init__(self):
        self.weights = {"W": np.full((2, 2), 400.0)}
    def forward(self, x):
        self.z = x @ self.weights["W"]
        e = np.exp(self.z)
        return e / e.sum(axis=-1, keepdims=True)
p = Net().forward(np.ones((1, 2)))
"""


def test_a_silenced_script(doctor):
    report, _ = doctor.run(SILENCED)
    assert "--thorough" in report["notes"][0]
    report, _ = doctor.run(SILENCED, "--thorough", check=1)
    first = report["findings"][0]
    assert (first["code"], first["where"]["line"], first["severity"]) == ("SMX001", 8, "error")


@pytest.mark.parametrize("name", THOROUGH)
def test_thorough(doctor, name):
    code, cause, line = THOROUGH[name]
    report, done = doctor.run(code, "--thorough", check=1)
    first = report["findings"][0]
    assert (first["code"], first["where"]["line"]) == (cause, line), done.stderr


def test_warnings_still_appear():
    code = (
        "import warnings, numpy as np\nfrom stablesoftmax import doctor\n"
        "with warnings.catch_warnings(record=True) as seen, doctor.watch() as watched:\n"
        "    warnings.simplefilter('always')\n"
        "    np.exp(1000.0)\n"
        "print([str(w.message) for w in seen], seen[0].lineno, np.geterr()['over'])\n"
        "print(watched.report.findings[0].code)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout == "['overflow encountered in exp'] 5 warn\nSMX001\n"


THREADS = """
import threading
import numpy as np
def work():
    x = np.array([1000.0])
    print(np.exp(x) / np.exp(x).sum())
thread = threading.Thread(target=work)
thread.start(); thread.join()
"""


def test_threads_are_watched(doctor):
    report, _ = doctor.run(THREADS, check=1)
    assert (report["findings"][0]["code"], report["findings"][0]["where"]["line"]) == ("SMX001", 5)


BEHAVIOUR = {
    "exit": ("import sys\nsys.exit(7)\n", 7, ""),
    "message": ("import sys\nsys.exit('so long')\n", 1, "so long"),
    "traceback": ("def f():\n    return 1 // {}['a']\nf()\n", 1, "KeyError: 'a'"),
    "syntax": ("x = = 1\n", 1, "SyntaxError"),
    "chdir": ("import os\nos.chdir('/')\n", 0, "nothing found"),
    "fork": ("import os\npid = os.fork()\nif pid:\n    os.waitpid(pid, 0)\n", 0, "nothing found"),
    "subprocess": (
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', '1'], check=True)\n",
        0,
        "nothing",
    ),
    "arguments": (
        "import sys\nassert sys.argv[1:] == ['--x', 'y'], sys.argv\n",
        0,
        "nothing found",
    ),
    "main": (
        "import pickle, sys\nclass A: pass\nassert __name__ == '__main__'\n"
        "pickle.loads(pickle.dumps(A()))\nassert sys.modules['__main__'].A is A\n",
        0,
        "nothing found",
    ),
    "seterrcall": (
        "import numpy as np\nwith np.errstate(all='raise'):\n    np.exp(1000.0)\n",
        1,
        "SMX001",
    ),
}


@pytest.mark.parametrize("name", BEHAVIOUR)
def test_the_script_runs_as_under_python(doctor, name):
    code, status, told = BEHAVIOUR[name]
    _, done = doctor.run(code, arguments=["--x", "y"], check=status)
    assert told in done.stderr
    assert done.stderr.count("nothing found") <= 1  # a forked child has no report
    assert "running.py" not in done.stderr


def test_a_module(doctor):
    doctor.write("import numpy as np\nprint(np.log(np.sum(np.exp([1000.0]))))\n", "naive.py")
    done = doctor.command("run", "-m", "naive", check=1)
    assert "SMX005" in done.stderr
    doctor.command("run", "-m", "no_such_module", check=2)


def test_no_such_script(doctor):
    done = doctor.command("run", "nothing.py", check=2)
    assert done.stderr == "stablesoftmax run: No such file or directory: nothing.py\n"


@pytest.mark.parametrize(
    ("path", "message"),
    [("report.pdf", "suffix must be"), ("no/folder/report.json", "no folder for the report")],
)
def test_a_report_that_cannot_be_written_is_refused_first(doctor, path, message):
    script = doctor.write("print('ran')\n")
    done = doctor.command("run", "--report", path, script, check=2)
    assert message in done.stderr
    assert "ran" not in done.stdout


def test_a_closed_pipe(doctor):
    script = doctor.write("print('x\\n' * 200_000)\n")
    command = f"{sys.executable} -m stablesoftmax run {script} | head -n 1"
    done = subprocess.run(
        command,
        shell=True,
        cwd=doctor.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout == "x\n"
    assert "cli.py" not in done.stderr


def test_text_of_the_script_is_escaped(doctor):
    _, done = doctor.run("import numpy as np\nnp.exp(np.float64(1000.0))  # \x1b[31m \u202e\n")
    report = done.stderr.partition("SMX001")[2]  # Python's own warning shows the line as it is
    assert "\\x1b" in report
    assert "\x1b" not in report
    assert "\u202e" not in report
