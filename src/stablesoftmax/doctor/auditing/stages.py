"""The examination: small logits, the ends of exp, dtypes, infinities, then manners."""

from typing import Any

import numpy as np

from ..arrays import summary
from ..findings import Finding, Severity
from .cases import Case
from .contracts import of_everything, right_for_vectors, says_vectors, wrong_beside_matrices
from .inputs import Probe, benign, extremes, long_row
from .naming import name_extreme, name_plain
from .records import Record
from .shrinking import shown

__all__ = ["Examination"]

TASTE = "a matter of contract"


class Examination(Record):
    """One function under examination, stage by stage."""

    def run(self) -> None:
        """Run every stage; what a wrong formula would fail anyway is left out."""
        self.dtype = self.caller.given(np.zeros(1)).dtype
        if not self._small_logits():
            return
        right = not self.findings_of("error", "warning")
        if right and not self.inexact:
            self._kept()
        self._ends(right)
        right = not self.findings_of("error", "warning")
        if right:
            self._dtypes()
            self._integers()
            self._infinities()
        self._result()
        if right:
            self._unusual()
        self._manners()

    def _small_logits(self) -> bool:
        """Whether there is anything to go on with."""
        every = self.caller.keyword is not None
        probes = benign(self.dtype, self.axis, every, brief=self.caller.library == "jax")
        if self.kind == "cross_entropy":
            probes = [p for p in probes if p.x.ndim == 2 and p.axis in (-1, self.axis)]
        cases = [self.case(probe) for probe in probes]
        taken = {case.probe.x.ndim for case in cases if not case.outcome.error}
        if not taken:
            self.add("SMX027", "error", f"it raises {cases[0].outcome.error}", cases[0])
            return False
        strange = [case for case in cases if not case.outcome.error and not case.numeric]
        if strange:
            text = f"what comes back is no array of real numbers: {strange[0].outcome.name}"
            self.add("SMX026", "error", text, strange[0])
            return False
        self.flat = 2 not in taken
        refused = [case for case in cases if case.probe.x.ndim not in taken]
        cases = [case for case in cases if case.probe.x.ndim in taken]
        if refused:
            numbers = " and ".join(map(str, sorted(taken)))
            text = f"takes arrays of {numbers} dimensions alone ({TASTE})"
            self.add("SMX027", "info", text, refused[0])
        noisy = [case for case in cases if self._noisy(case)]
        if not noisy and (other := wrong_beside_matrices(cases)):
            text = f"right for arrays of 2 dimensions alone ({TASTE})"
            self.add("SMX027", "info", text, other[0])
            cases = [case for case in cases if case.probe.x.ndim == 2]
        bad = [case for case in cases if case.bad]
        if noisy:
            self.add("SMX028", "error", "two calls with one input differ", noisy[0])
        elif bad:
            # axis=1 is the rows' of a matrix, and of three axes another mistake: matrices first
            matrices = [case for case in cases if case.probe.x.ndim == 2]
            telling = matrices if any(case.bad for case in matrices) else cases
            code, text = name_plain(self.kind, telling)
            if code == "SMX024" and self._right_alone(cases):
                code, text = "SMX028", "each row is right alone, and not in a batch with others"
            severity: Severity = "error"
            if code in ("SMX006", "SMX007") and right_for_vectors(cases):
                text += "; right for vectors alone"
                if says_vectors(self.documentation) or of_everything(self.kind, cases):
                    self.flat, severity = True, "info"
            if code == "SMX025":
                self.inexact = bad[0]  # an epsilon of 1e-15, perhaps: the ends will tell
            else:
                self.add(code, severity, text, self.shrunk(bad))
        elif self.caller.keyword:
            self._default(cases)
        self.mark("small logits", bool(bad or noisy))
        return True

    def _default(self, cases: list[Case]) -> None:
        """Of a function with a parameter for the axis: whether its default is the axis asked."""
        keyword, self.caller.keyword = self.caller.keyword, None
        asked = [c.probe for c in cases if c.probe.x.ndim == 2 and c.probe.axis == self.axis]
        for case in map(self.case, asked[:1]):
            if case.bad and not case.outcome.error:  # torch's dim has no default
                text = f"without {keyword}= it works on another axis than {self.axis} ({TASTE})"
                self.add("SMX007", "info", text, case)
        self.caller.keyword = keyword

    def _right_alone(self, cases: list[Case]) -> bool:
        """Whether rows that are wrong in a batch are right by themselves."""
        batches = [c for c in cases if c.bad and c.probe.x.ndim == 2 and c.probe.axis in (-1, 1)]
        rows = [Probe("a row alone", row[None]) for case in batches[:1] for row in case.probe.x]
        return bool(rows) and not any(self.case(row).bad for row in rows)

    def _noisy(self, case: Case) -> bool:
        again = self.caller(case.probe).value
        first = case.outcome.value
        return first is not None and again is not None and first.tobytes() != again.tobytes()

    def _ends(self, right: bool) -> None:
        axis = self.axis if self.kind != "cross_entropy" or not self.flat else -1
        flat = self.flat and self.kind != "cross_entropy"
        cases = [self.case(probe) for probe in extremes(self.dtype, flat, axis)]
        for case in cases:
            self.mark(case.probe.topic, case.bad)
        bad = [case for case in cases if case.bad]
        if right and bad:
            code, text = name_extreme(self.kind, cases)
            raised = [case for case in bad if case.outcome.error]
            if raised and len(raised) == len(bad):
                code, text = "SMX027", f"it raises {raised[0].outcome.error}"
            severity: Severity = "warning" if code == "SMX025" else "error"
            self.add(code, severity, text, self.shrunk(bad))
        elif not right:
            self._overflows(bad)
        elif self.inexact:
            self.add("SMX025", "warning", "more digits are lost than rounding takes", self.inexact)

    def _overflows(self, bad: list[Case]) -> None:
        """Of another formula: whether exp overflows besides."""
        code = "SMX005" if self.kind == "logsumexp" else "SMX001"
        lost = [case for case in bad if case.comparable and not case.finite]
        if {finding.code for finding in self.findings} & {"SMX028", "SMX002"}:
            return
        topics = {case.probe.topic for case in lost}
        if topics & {"overflow", "underflow"}:
            text = "exp overflows or underflows: the row's maximum is not subtracted"
            self.add(code, "error", text, self.shrunk(lost))
        elif topics == {"rows far apart"} and not self.findings_of_codes("SMX006", "SMX007"):
            text = "each row is right alone, and not in a batch with others"
            self.add("SMX003", "error", text, self.shrunk(lost))

    def _dtypes(self) -> None:
        """What is sound in float64, in the narrower dtypes."""
        narrow: list[np.dtype[Any]] = [np.dtype(np.float32), np.dtype(np.float16)]
        for dtype in narrow:
            if dtype.itemsize >= self.dtype.itemsize:
                continue
            probes = benign(dtype, self.axis, False)[:2]
            probes = [p for p in probes if (p.x.ndim == 1) == self.flat]
            probes += [
                *extremes(dtype, self.flat, self.axis),
                long_row(dtype, self.flat, self.axis),
            ]
            cases = [self.case(probe) for probe in probes]
            bad = [case for case in cases if case.bad]
            self.mark(str(dtype), bool(bad))
            if all(case.outcome.error for case in cases):
                self.add("SMX027", "info", f"{dtype} is refused ({TASTE})", cases[0])
            elif any(case.outcome.error for case in bad):
                case = next(case for case in bad if case.outcome.error)
                self.add("SMX027", "error", f"of {dtype} it raises {case.outcome.error}", case)
            elif bad:
                lost = any(not case.finite for case in bad)
                code = "SMX016" if lost and dtype == np.float16 else "SMX011"
                text = f"right in {self.dtype}, and wrong in {dtype}"
                # np.logaddexp.reduce adds 4096 numbers of float16 one by one, as its users know
                known = self.kind == "logsumexp" and {c.probe.topic for c in bad} == {"a long row"}
                self.add(code, "info" if known else "error", text, self.shrunk(bad))

    def _integers(self) -> None:
        """Small signed integers count; the wrap of unsigned or extreme ones is worth a word."""
        for dtype, row in (("int64", [1, 2, 3]), ("int32", [-3, 0, 2]), ("uint8", [1, 2, 3]),
                           ("int8", [127, -128, 0])):  # fmt: skip
            case = self.case(Probe(dtype, self.shaped(np.array(row, dtype)), self.its_axis()))
            if case.outcome.error:
                text = f"{dtype} is refused ({TASTE})"
                return self.add("SMX027", "info", text, case)
            if not case.bad or case.probe.x.dtype.kind == "f":
                continue
            value = case.outcome.value
            cut = value is not None and value.dtype.kind in "biu"
            small = dtype in ("int64", "int32")
            why = "are cut to integers" if cut else "are not what the integers' softmax is"
            text = f"results of {dtype} {why}" if small else f"x - max(x) of {dtype} wraps around"
            return self.add("SMX010", "error" if small else "info", text, case)
        return None

    def _infinities(self) -> None:
        inf, nan = np.inf, np.nan
        masked = self.case(Probe("-inf", self.shaped([1.0, -inf, 2.0]), self.its_axis()))
        self.mark("-inf", masked.bad)
        if masked.bad:
            code = "SMX012" if self.kind == "cross_entropy" else "SMX014"
            self.add(code, "error", "one -inf, which masks an entry, spoils the row", masked)
        for topic, row, code in (("+inf", [1.0, inf, 2.0], "SMX015"),
                                 ("a fully masked row", [-inf] * 3, "SMX014")):  # fmt: skip
            case = self.case(Probe(topic, self.shaped(row), self.its_axis()))
            if case.bad or not case.finite or (code == "SMX014" and self.kind != "logsumexp"):
                gives = case.outcome.error or shown(case.outcome.value)
                self.add(code, "info", f"{topic} gives {gives} ({TASTE})", case)
        case = self.case(Probe("NaN", self.shaped([1.0, nan, 2.0]), self.its_axis()))
        hidden = case.bad and not case.outcome.error
        self.mark("NaN", hidden)
        if hidden:
            self.add("SMX013", "warning", "a NaN that comes in is hidden, or left out", case)

    def _result(self) -> None:
        """The shape, dtype and kind of what comes back."""
        dtypes: list[np.dtype[Any]] = [np.dtype(t) for t in (np.float64, np.float32, np.float16)]
        for dtype in dtypes:
            if dtype.itemsize > self.dtype.itemsize:
                continue
            for probe in benign(dtype, self.axis, False)[:2]:
                if self.kind == "cross_entropy" and probe.x.ndim != 2:
                    continue
                case = self.case(probe)
                text = self._other_kind(case)
                if text:
                    self.mark("shape and dtype", True)
                    return self.add("SMX026", "error", text, case)
        return self.mark("shape and dtype", False)

    def _other_kind(self, case: Case) -> str:
        outcome, x = case.outcome, case.probe.x
        value, shape = outcome.value, case.verdict.values.shape
        if outcome.error or value is None or self.findings_of_codes("SMX006", "SMX007"):
            return ""
        if outcome.kind != self.caller.library:
            return f"{self.caller.library} goes in, and another kind of object comes back"
        if value.shape != shape:
            return f"the shape is {value.shape}, {shape} is asked"
        return f"{x.dtype} goes in, and {value.dtype} comes back" if value.dtype != x.dtype else ""

    def _kept(self) -> None:
        """Whether a result outlives the next call."""
        probe = benign(self.dtype, self.axis, False)[0 if self.flat else 1]
        kept = self.caller.kept(probe, Probe("another", -probe.x, probe.axis))
        again = self.case(Probe("another input", -probe.x, probe.axis))
        self.mark("a result after the next call", not kept or again.bad)
        if again.bad:
            self.add("SMX028", "error", "a result depends on earlier calls", again)
        elif not kept:
            case = self.case(probe)
            self.add("SMX028", "error", "a result changes with the next call", case)

    def _unusual(self) -> None:
        """A list and an empty array, which a function may refuse."""
        probe = benign(self.dtype, self.axis, False)[0 if self.flat else 1]
        empty = np.zeros((0,) if self.flat else (0, 3) if self.axis != 0 else (3, 0), self.dtype)
        for topic, x, raw in (
            ("a list", probe.x, probe.x.tolist()),
            ("an empty array", empty, None),
        ):
            if self.kind == "cross_entropy" and not x.size:
                continue
            outcome = self.caller(Probe(topic, x, probe.axis), raw=raw)
            if outcome.error:
                text = f"{topic} is refused: {outcome.error} ({TASTE})"
                self.findings.append(Finding("SMX027", "info", text, self.place))

    def _manners(self) -> None:
        """What was changed beside the result, in all the calls."""
        changed = self.caller.mutated
        self.mark("the argument is left alone", changed is not None)
        if changed is not None:
            told = any(word in self.documentation for word in ("in place", "in-place", "inplace"))
            text = f"it writes to its argument, which was {shown(changed)}"
            text += ", and says so" if told else ""
            evidence = {"operands": [summary("x", changed)]}
            severity: Severity = "info" if told else "error"
            self.findings.append(Finding("SMX022", severity, text, self.place, evidence))
