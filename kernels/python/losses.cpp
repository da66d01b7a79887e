// `cross_entropy`, `selected_log_softmax` and `logcumsumexp`: rows along the last axis of x; `total` of losses.
#include "binding.hpp"

namespace stablesoftmax {
namespace {

PyArrayObject *as_array(PyObject *object) { return reinterpret_cast<PyArrayObject *>(object); }

// None, or a C-contiguous array of this type.
bool is_contiguous(const char *name, PyObject *object, int type, const char *type_name) {
    if (PyArray_Check(object) && PyArray_TYPE(as_array(object)) == type && PyArray_ISCARRAY_RO(as_array(object)))
        return true;
    PyErr_Format(PyExc_TypeError, "%s: expected a C-contiguous %s array", name, type_name);
    return false;
}

bool has_size(const char *name, PyObject *object, npy_intp size) {
    if (PyArray_SIZE(as_array(object)) == size) return true;
    PyErr_Format(PyExc_ValueError, "%s: %zd elements; expected %zd", name, static_cast<Py_ssize_t>(PyArray_SIZE(as_array(object))),
                 static_cast<Py_ssize_t>(size));
    return false;
}

npy_intp rows_of(const Job &job) {
    npy_intp rows = 1;
    for (int d = 0; d < job.dimensions; ++d) rows *= static_cast<npy_intp>(job.shape[d]);
    return rows;
}

// int64 numbers from `lowest` up to the length of a row: what a kernel may follow without looking.
bool read_places(const char *name, PyObject *object, npy_intp size, npy_int64 lowest, size_t length,
                 const int64_t **places) {
    if (!is_contiguous(name, object, NPY_INT64, "int64") || !has_size(name, object, size)) return false;
    const auto *numbers = static_cast<const int64_t *>(PyArray_DATA(as_array(object)));
    for (npy_intp k = 0; k < size; ++k)
        if (numbers[k] < lowest || numbers[k] >= static_cast<int64_t>(length)) {
            PyErr_Format(PyExc_IndexError, "%s: %lld; expected %lld to %zu", name, static_cast<long long>(numbers[k]),
                         static_cast<long long>(lowest), length - 1);
            return false;
        }
    *places = numbers;
    return true;
}

// y of the shape of x.
bool read_result(const char *name, PyArrayObject *y, PyArrayObject *x, Job *job) {
    if (!check(name, y, PyArray_NDIM(x), item_size(job->format)) || !same_shape(name, y, x)) return false;
    if (PyArray_FailUnlessWriteable(y, name) < 0) return false;
    job->y = PyArray_BYTES(y);
    job->y_step = PyArray_STRIDE(y, job->dimensions);
    set_strides(job->y_stride, y, job->dimensions);
    return true;
}

bool read_targets(LossJob *job, PyArrayObject *targets, const char *format, PyArrayObject *logits) {
    if (!format_named(format, &job->targets.format) || PyArray_NDIM(targets) != PyArray_NDIM(logits) ||
        !describe(&job->targets, targets, Py_None)) {
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "targets: expected the dimensions of x");
        return false;
    }
    job->target.target_format = job->targets.format;
    return same_shape("targets", targets, logits);
}

}  // namespace

// (dtype, x, where or None, labels or None, targets or None, dtype of targets, weight or None, smoothing,
// scale, loss, gradient or None)
PyObject *cross_entropy(PyObject *, PyObject *args) {
    const char *format, *target_format;
    PyArrayObject *x;
    PyObject *where, *labels, *targets, *weight, *loss, *gradient;
    LossJob job{};
    if (!PyArg_ParseTuple(args, "sO!OOOsOddOO:cross_entropy", &format, &PyArray_Type, &x, &where, &labels, &targets,
                          &target_format, &weight, &job.target.smoothing, &job.target.scale, &loss,
                          &gradient) ||
        !format_named(format, &job.rows.format) || !describe(&job.rows, x, where))
        return nullptr;
    const npy_intp rows = rows_of(job.rows);
    const size_t length = job.rows.length;
    if (labels != Py_None && !read_places("labels", labels, rows, -1, length, &job.labels)) return nullptr;
    if (targets != Py_None) {
        if (!PyArray_Check(targets)) return PyErr_Format(PyExc_TypeError, "targets: expected None or an array");
        if (!read_targets(&job, as_array(targets), target_format, x)) return nullptr;
    }
    if (weight != Py_None) {
        if (!is_contiguous("weight", weight, NPY_DOUBLE, "float64") ||
            !has_size("weight", weight, static_cast<npy_intp>(length)))
            return nullptr;
        job.target.weight = static_cast<const double *>(PyArray_DATA(as_array(weight)));
    }
    if (!is_contiguous("loss", loss, NPY_DOUBLE, "float64") || !has_size("loss", loss, rows) ||
        PyArray_FailUnlessWriteable(as_array(loss), "loss") < 0)
        return nullptr;
    job.loss = static_cast<double *>(PyArray_DATA(as_array(loss)));
    if (gradient != Py_None) {
        if (!PyArray_Check(gradient)) return PyErr_Format(PyExc_TypeError, "gradient: expected None or an array");
        if (!read_result("gradient", as_array(gradient), x, &job.rows)) return nullptr;
    }
    bool finished;
    Py_BEGIN_ALLOW_THREADS;
    finished = run_loss(*kernels, job, may_continue);
    Py_END_ALLOW_THREADS;
    if (!finished) return nullptr;
    Py_RETURN_NONE;
}

// (dtype, x, where or None, temperature or None, index of shape (*batch, k), out of that shape)
PyObject *selected_log_softmax(PyObject *, PyObject *args) {
    const char *format;
    PyArrayObject *x, *out;
    PyObject *where, *temperature, *index;
    SelectJob job{};
    if (!PyArg_ParseTuple(args, "sO!OOOO!:selected_log_softmax", &format, &PyArray_Type, &x, &where, &temperature,
                          &index, &PyArray_Type, &out) ||
        !format_named(format, &job.rows.format) || !describe(&job.rows, x, where))
        return nullptr;
    const int batch = job.rows.dimensions, ndim = batch + 1;
    if (!check("out", out, ndim, item_size(job.rows.format)) || PyArray_FailUnlessWriteable(out, "out") < 0)
        return nullptr;
    if (!PyArray_CompareLists(PyArray_DIMS(out), PyArray_DIMS(x), batch) || !PyArray_ISCARRAY(out))
        return PyErr_Format(PyExc_ValueError, "out: expected a C-contiguous array with the batch of x");
    job.count = static_cast<size_t>(PyArray_DIM(out, batch));
    if (!read_places("index", index, PyArray_SIZE(out), 0, job.rows.length, &job.index)) return nullptr;
    job.rows.y = PyArray_BYTES(out);
    set_strides(job.rows.y_stride, out, batch);
    if (!set_temperature(&job.rows, temperature, x)) return nullptr;
    bool finished;
    Py_BEGIN_ALLOW_THREADS;
    finished = job.count == 0 || run_select(*kernels, job, may_continue);
    Py_END_ALLOW_THREADS;
    if (!finished) return nullptr;
    Py_RETURN_NONE;
}

// (dtype, x, where or None, out of that shape)
PyObject *logcumsumexp(PyObject *, PyObject *args) {
    const char *format;
    PyArrayObject *x, *out;
    PyObject *where;
    Job job{};
    if (!PyArg_ParseTuple(args, "sO!OO!:logcumsumexp", &format, &PyArray_Type, &x, &where, &PyArray_Type, &out) ||
        !format_named(format, &job.format) || !describe(&job, x, where) || !read_result("out", out, x, &job))
        return nullptr;
    bool finished;
    Py_BEGIN_ALLOW_THREADS;
    finished = run_cumulate(*kernels, job, may_continue);
    Py_END_ALLOW_THREADS;
    if (!finished) return nullptr;
    Py_RETURN_NONE;
}

PyObject *total(PyObject *, PyObject *array) {
    if (!is_contiguous("array", array, NPY_DOUBLE, "float64")) return nullptr;
    const auto *value = static_cast<const double *>(PyArray_DATA(as_array(array)));
    Total sum;
    for (npy_intp k = 0; k < PyArray_SIZE(as_array(array)); ++k) sum.add(value[k]);
    return PyFloat_FromDouble(sum.value());
}

}  // namespace stablesoftmax
