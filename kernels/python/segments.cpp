// `apply_segments` and `apply_indptr`: groups of unequal size.
#include "binding.hpp"

#include "../groups.hpp"

namespace stablesoftmax {
namespace {

// What both take: op, dtype, x of (rows, columns), out.
struct Arguments {
    int operation;
    const char *dtype;
    PyArrayObject *x, *out, *groups;
    GroupJob job{};

    bool describe(size_t groups) {
        if (operation < 0 || operation >= static_cast<int>(operations)) {
            PyErr_Format(PyExc_ValueError, "op: %d; expected 0 to 2", operation);
            return false;
        }
        job.operation = static_cast<Operation>(operation);
        if (!format_named(dtype, &job.format)) return false;
        const size_t item = item_size(job.format);
        if (!check("x", x, 2, item) || !check("out", out, 2, item)) return false;
        job.length = static_cast<size_t>(PyArray_DIM(x, 0));
        job.columns = static_cast<size_t>(PyArray_DIM(x, 1));
        job.groups = groups;
        const size_t rows = job.operation == Operation::logsumexp ? groups : job.length;
        if (static_cast<size_t>(PyArray_DIM(out, 0)) != rows || PyArray_DIM(out, 1) != PyArray_DIM(x, 1)) {
            PyErr_SetString(PyExc_ValueError, "out: its shape does not match that of x");
            return false;
        }
        if (PyArray_FailUnlessWriteable(out, "out") < 0) return false;
        job.x = PyArray_BYTES(x);
        job.y = PyArray_BYTES(out);
        job.x_step = PyArray_STRIDE(x, 0), job.x_column = PyArray_STRIDE(x, 1);
        job.y_step = PyArray_STRIDE(out, 0), job.y_column = PyArray_STRIDE(out, 1);
        return true;
    }

    bool check_groups(const char *name, size_t item) const {
        if (!check(name, groups, 1, item)) return false;
        if (PyArray_ISINTEGER(groups) && PyArray_ISSIGNED(groups) && PyArray_IS_C_CONTIGUOUS(groups)) return true;
        PyErr_Format(PyExc_ValueError, "%s: expected contiguous signed integers", name);
        return false;
    }

    // Call f(poll) without the GIL, unless there is nothing to write.
    template <class Function>
    PyObject *run(const char *name, Function f) const {
        Outcome outcome = Outcome::finished;
        if (job.columns > 0) {
            Py_BEGIN_ALLOW_THREADS;
            outcome = f();
            Py_END_ALLOW_THREADS;
        }
        switch (outcome) {
            case Outcome::finished: Py_RETURN_NONE;
            case Outcome::stopped: return nullptr;
            case Outcome::out_of_memory: return PyErr_NoMemory();
            case Outcome::out_of_range: break;
        }
        return PyErr_Format(PyExc_ValueError, "%s: out of range, or written to while it was read", name);
    }
};

}  // namespace

PyObject *apply_segments(PyObject *, PyObject *args) {
    Arguments a;
    Py_ssize_t count;
    if (!PyArg_ParseTuple(args, "isO!O!O!n:apply_segments", &a.operation, &a.dtype, &PyArray_Type, &a.x, &PyArray_Type,
                          &a.out, &PyArray_Type, &a.groups, &count))
        return nullptr;
    if (count < 0) return PyErr_Format(PyExc_ValueError, "count: %zd; expected at least 0", count);
    const size_t item = PyArray_ITEMSIZE(a.groups) == 4 ? 4 : 8;
    if (!a.describe(static_cast<size_t>(count)) || !a.check_groups("segments", item)) return nullptr;
    if (PyArray_DIM(a.groups, 0) != PyArray_DIM(a.x, 0))
        return PyErr_Format(PyExc_ValueError, "segments: its length is not that of x");
    const void *ids = PyArray_DATA(a.groups);
    return a.run("segments", [&] {
        if (item == 4) return run_ids(*kernels, a.job, static_cast<const int32_t *>(ids), may_continue);
        return run_ids(*kernels, a.job, static_cast<const int64_t *>(ids), may_continue);
    });
}

PyObject *apply_indptr(PyObject *, PyObject *args) {
    Arguments a;
    if (!PyArg_ParseTuple(args, "isO!O!O!:apply_indptr", &a.operation, &a.dtype, &PyArray_Type, &a.x, &PyArray_Type,
                          &a.out, &PyArray_Type, &a.groups) ||
        !a.check_groups("indptr", sizeof(int64_t)))
        return nullptr;
    if (PyArray_DIM(a.groups, 0) < 1) return PyErr_Format(PyExc_ValueError, "indptr: empty; expected at least one offset");
    if (!a.describe(static_cast<size_t>(PyArray_DIM(a.groups, 0) - 1))) return nullptr;
    const auto *offsets = static_cast<const int64_t *>(PyArray_DATA(a.groups));
    return a.run("indptr", [&] { return run_offsets(*kernels, a.job, offsets, may_continue); });
}

}  // namespace stablesoftmax
