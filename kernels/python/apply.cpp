// `apply`, `entropy`, `kl_divergence`, `product`, `weighted_logsumexp` and `first_undefined`: the kernels for the calls that the compiled entry declines.
#include "binding.hpp"

namespace stablesoftmax {
namespace {

// y of the shape of x, or where it `reduces` of its batch.
bool set_result(Job *job, PyArrayObject *out, PyArrayObject *x, bool reduces) {
    const int batch = job->dimensions;
    if (!check("out", out, batch + !reduces, item_size(job->format)) || !same_shape("out", out, x)) return false;
    if (PyArray_FailUnlessWriteable(out, "out") < 0) return false;
    job->y = PyArray_BYTES(out);
    job->y_step = reduces ? 0 : PyArray_STRIDE(out, batch);
    set_strides(job->y_stride, out, batch);
    return true;
}

// A second array of the shape of x; its format is given.
bool set_vector(Job *job, const char *name, PyArrayObject *v, PyArrayObject *x) {
    if (!check(name, v, job->dimensions + 1, item_size(job->v_format)) || !same_shape(name, v, x)) return false;
    job->v = PyArray_BYTES(v);
    job->v_step = PyArray_STRIDE(v, job->dimensions);
    set_strides(job->v_stride, v, job->dimensions);
    return true;
}

}  // namespace

PyObject *apply(PyObject *, PyObject *args) {
    int operation, undefined;
    const char *dtype;
    PyArrayObject *x, *out;
    PyObject *where, *temperature;
    Job job{};
    if (!PyArg_ParseTuple(args, "isO!O!OOi:apply", &operation, &dtype, &PyArray_Type, &x, &PyArray_Type, &out,
                          &where, &temperature, &undefined) ||
        !format_named(dtype, &job.format))
        return nullptr;
    if (operation < 0 || operation > 2 || undefined < 0 || undefined > 2)
        return PyErr_Format(PyExc_ValueError, "op, undefined: %d, %d; expected 0 to 2", operation, undefined);
    job.operation = static_cast<Operation>(operation);
    job.undefined = static_cast<Undefined>(undefined);
    if (!describe(&job, x, where)) return nullptr;

    if (!set_result(&job, out, x, job.operation == Operation::logsumexp) || !set_temperature(&job, temperature, x))
        return nullptr;

    bool finished;
    Py_BEGIN_ALLOW_THREADS;
    finished = run(*kernels, job, may_continue);
    Py_END_ALLOW_THREADS;
    if (!finished) return nullptr;
    Py_RETURN_NONE;
}

// (dtype, x, out of the batch, where or None, temperature or None)
PyObject *entropy(PyObject *, PyObject *args) {
    const char *dtype;
    PyArrayObject *x, *out;
    PyObject *where, *temperature;
    Job job{};
    if (!PyArg_ParseTuple(args, "sO!O!OO:entropy", &dtype, &PyArray_Type, &x, &PyArray_Type, &out, &where,
                          &temperature) ||
        !format_named(dtype, &job.format) || !describe(&job, x, where) || !set_result(&job, out, x, true) ||
        !set_temperature(&job, temperature, x))
        return nullptr;
    bool finished;
    Py_BEGIN_ALLOW_THREADS;
    finished = run_entropy(*kernels, job, may_continue);
    Py_END_ALLOW_THREADS;
    if (!finished) return nullptr;
    Py_RETURN_NONE;
}

// (dtype, p, q of that shape, out of the batch, where or None)
PyObject *kl_divergence(PyObject *, PyObject *args) {
    const char *dtype;
    PyArrayObject *p, *q, *out;
    PyObject *where;
    DivergenceJob job{};
    if (!PyArg_ParseTuple(args, "sO!O!O!O:kl_divergence", &dtype, &PyArray_Type, &p, &PyArray_Type, &q, &PyArray_Type,
                          &out, &where) ||
        !format_named(dtype, &job.p.format) || !describe(&job.p, p, where) || !set_result(&job.p, out, p, true))
        return nullptr;
    job.q.format = job.p.format;
    if (PyArray_NDIM(q) != PyArray_NDIM(p) || !describe(&job.q, q, Py_None)) {
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "q: expected the dimensions of p");
        return nullptr;
    }
    if (!same_shape("q", q, p)) return nullptr;
    bool finished;
    Py_BEGIN_ALLOW_THREADS;
    finished = run_divergence(*kernels, job, may_continue);
    Py_END_ALLOW_THREADS;
    if (!finished) return nullptr;
    Py_RETURN_NONE;
}

// (product, dtype, x, dtype of v, v of the shape of x, out, where or None, temperature or None)
PyObject *product(PyObject *, PyObject *args) {
    int which;
    const char *dtype, *v_dtype;
    PyArrayObject *x, *v, *out;
    PyObject *where, *temperature;
    Job job{};
    if (!PyArg_ParseTuple(args, "isO!sO!O!OO:product", &which, &dtype, &PyArray_Type, &x, &v_dtype, &PyArray_Type, &v,
                          &PyArray_Type, &out, &where, &temperature) ||
        !format_named(dtype, &job.format) || !format_named(v_dtype, &job.v_format))
        return nullptr;
    if (which < 0 || which >= static_cast<int>(products))
        return PyErr_Format(PyExc_ValueError, "product: %d; expected 0 to %d", which, static_cast<int>(products) - 1);
    const Product product = static_cast<Product>(which);
    if (!describe(&job, x, where) || !set_result(&job, out, x, product == Product::logsumexp) ||
        !set_temperature(&job, temperature, x) || !set_vector(&job, "v", v, x))
        return nullptr;
    bool finished;
    Py_BEGIN_ALLOW_THREADS;
    finished = job.length == 0 || run_product(*kernels, product, job, may_continue);
    Py_END_ALLOW_THREADS;
    if (!finished) return nullptr;
    Py_RETURN_NONE;
}

// (dtype, x, dtype of b, b of the shape of x, out of the batch, where or None) -> whether the kernel could tell
PyObject *weighted_logsumexp(PyObject *, PyObject *args) {
    const char *dtype, *b_dtype;
    PyArrayObject *x, *b, *out;
    PyObject *where;
    Job job{};
    if (!PyArg_ParseTuple(args, "sO!sO!O!O:weighted_logsumexp", &dtype, &PyArray_Type, &x, &b_dtype, &PyArray_Type, &b,
                          &PyArray_Type, &out, &where) ||
        !format_named(dtype, &job.format) || !format_named(b_dtype, &job.v_format) || !describe(&job, x, where) ||
        !set_result(&job, out, x, true) || !set_vector(&job, "b", b, x))
        return nullptr;
    bool finished, settled = true;
    Py_BEGIN_ALLOW_THREADS;
    finished = job.length == 0 || run_weighted(*kernels, job, &settled, may_continue);
    Py_END_ALLOW_THREADS;
    if (!finished) return nullptr;
    return PyBool_FromLong(settled && job.length > 0);
}

PyObject *find_undefined(PyObject *, PyObject *args) {
    const char *dtype;
    PyArrayObject *x;
    PyObject *where;
    Job job{};
    if (!PyArg_ParseTuple(args, "sO!O:first_undefined", &dtype, &PyArray_Type, &x, &where) ||
        !format_named(dtype, &job.format) || !describe(&job, x, where))
        return nullptr;
    ptrdiff_t row;
    Py_BEGIN_ALLOW_THREADS;
    row = first_undefined(*kernels, job);
    Py_END_ALLOW_THREADS;
    return PyLong_FromSsize_t(row);
}

}  // namespace stablesoftmax
