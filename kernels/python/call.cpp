#include "call.hpp"

#include <initializer_list>

#include "../environment.hpp"

namespace stablesoftmax {
namespace {

constexpr double exact_below = 4503599627370496;  // 2^52: integers up to it, and their differences, are doubles

// The memory that an array of any strides lies in.
struct Extent {
    const char *low, *high;

    explicit Extent(PyArrayObject *array) : low(PyArray_BYTES(array)), high(low + PyArray_ITEMSIZE(array)) {
        for (int d = 0; d < PyArray_NDIM(array); ++d) {
            const npy_intp reach = (PyArray_DIM(array, d) - 1) * PyArray_STRIDE(array, d);
            (reach < 0 ? low : high) += reach;
        }
    }
    bool apart(const Extent &other) const { return high <= other.low || other.high <= low; }
};

// Strides of `array`, along the dimensions of an x that it is broadcast to. False: it does not fit.
bool broadcast(PyArrayObject *array, int ndim, const npy_intp *shape, npy_intp *strides) {
    const int lacks = ndim - PyArray_NDIM(array);
    if (lacks < 0) return false;
    for (int d = 0; d < ndim; ++d) {
        const npy_intp n = d < lacks ? 1 : PyArray_DIM(array, d - lacks);
        if (n != shape[d] && n != 1) return false;
        strides[d] = n == 1 ? 0 : PyArray_STRIDE(array, d - lacks);
    }
    return true;
}

}  // namespace

PyObject *new_array(int ndim, const npy_intp *shape, PyArray_Descr *descr) {
    Py_INCREF(descr);
    return PyArray_NewFromDescr(&PyArray_Type, descr, ndim, shape, nullptr, nullptr, 0, nullptr);
}

bool Call::reduced(int dimension) const {
    for (int k = batch; k < ndim; ++k)
        if (order[k] == dimension) return true;
    return false;
}

bool Call::take_x(PyObject *given) {
    if (PyArray_CheckExact(given)) {
        x.borrow(reinterpret_cast<PyArrayObject *>(given));
    } else if (PyList_CheckExact(given) || PyTuple_CheckExact(given)) {
        x.take(PyArray_FromAny(given, nullptr, 0, 0, 0, nullptr));
        if (!x) return PyErr_Clear(), false;
        owns_x = true;
    } else {
        return false;
    }
    ndim = PyArray_NDIM(x);
    if (ndim == 0) return false;
    if (!format_of(PyArray_DESCR(x), &format)) return as_doubles();
    return PyArray_ISALIGNED(x);
}

// Integers, which float64 must hold: 2^60 and 2^60 + 1 must not become a tie.
bool Call::as_doubles() {
    if (!PyArray_ISINTEGER(x) || (!owns_x && PyArray_SIZE(x) >= small_below)) return false;
    for (int d = 0; d < ndim; ++d)  // a copy of what runs backwards runs forwards, and its rows may be one axis
        if (PyArray_STRIDE(x, d) < 0) return false;
    Owned copy;
    copy.take(PyArray_NewLikeArray(x, NPY_KEEPORDER, PyArray_DescrFromType(NPY_DOUBLE), 0));
    if (!copy || PyArray_CopyInto(copy, x) < 0) return PyErr_Clear(), false;
    if (PyArray_ITEMSIZE(x) == 8) {
        const auto *value = static_cast<const double *>(PyArray_DATA(copy));
        for (npy_intp i = 0; i < PyArray_SIZE(x); ++i)
            if (!(value[i] <= exact_below && value[i] >= -exact_below)) return false;
    }
    x.take(copy.release());
    format = Format::float64;
    return owns_x = true;
}

bool Call::take_axes(PyObject *axis, bool all_by_default) {
    bool row[NPY_MAXDIMS] = {};
    auto mark = [&](PyObject *one) {
        if (!PyLong_CheckExact(one)) return false;
        int overflow;
        long value = PyLong_AsLongAndOverflow(one, &overflow);
        if (overflow || value < -ndim || value >= ndim) return false;
        bool &marked = row[value < 0 ? value + ndim : value];
        return !std::exchange(marked, true);
    };
    if (axis ? axis == Py_None : all_by_default) {
        for (int d = 0; d < ndim; ++d) row[d] = true;
    } else if (!axis) {
        row[ndim - 1] = true;
    } else if (PyTuple_CheckExact(axis)) {
        for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(axis); ++k)
            if (!mark(PyTuple_GET_ITEM(axis, k))) return false;
        if (PyTuple_GET_SIZE(axis) == 0) return false;
    } else if (!mark(axis)) {
        return false;
    }
    for (int d = 0; d < ndim; ++d)
        if (!row[d]) order[batch++] = d;
    for (int d = 0, k = batch; d < ndim; ++d)
        if (row[d]) order[k++] = d;
    return true;
}

bool Call::take_where(PyObject *given) {
    if (!given) return true;
    if (!PyArray_CheckExact(given)) return false;
    where.borrow(reinterpret_cast<PyArrayObject *>(given));
    return PyArray_TYPE(where) == NPY_BOOL;
}

bool Call::take_temperature(PyObject *given) {
    if (!given) return true;
    if (PyFloat_CheckExact(given)) {
        one_temperature = PyFloat_AS_DOUBLE(given);
    } else if (PyLong_CheckExact(given)) {
        one_temperature = PyLong_AsDouble(given);
        if (PyErr_Occurred()) return PyErr_Clear(), false;
    } else if (PyArray_CheckExact(given)) {
        temperature.borrow(reinterpret_cast<PyArrayObject *>(given));
        if (PyArray_TYPE(temperature) != NPY_DOUBLE || !PyArray_ISCARRAY_RO(temperature)) return false;
        const auto *value = static_cast<const double *>(PyArray_DATA(temperature));
        const npy_intp size = PyArray_SIZE(temperature);
        for (npy_intp i = 0; i < size; ++i)
            if (!(value[i] >= 0)) return false;
        return size > 0;
    } else {
        return false;
    }
    return one_temperature >= 0;
}

bool Call::take_dtype(PyObject *given) {
    if (!given) return true;
    PyArray_Descr *asked = nullptr;
    if (!PyArray_DescrConverter(given, &asked)) return PyErr_Clear(), false;
    Format result;
    const bool known = format_of(asked, &result);
    Py_DECREF(asked);
    narrows = known && format == Format::float64 && result == Format::float32 && PyArray_SIZE(x) < small_below;
    return known && (narrows || result == format);
}

bool Call::take_options(const Arguments &given) {
    if (given.keepdims && !PyBool_Check(given.keepdims)) return false;
    keepdims = given.keepdims == Py_True;
    if (!given.undefined) return true;
    if (!PyUnicode_CheckExact(given.undefined)) return false;
    constexpr std::pair<const char *, Undefined> policies[] = {
        {"nan", Undefined::nan}, {"zero", Undefined::zero}, {"uniform", Undefined::uniform}};
    for (auto [name, policy] : policies)
        if (PyUnicode_CompareWithASCIIString(given.undefined, name) == 0) return undefined = policy, true;
    return false;
}

int Call::result_shape(npy_intp *shape) const {
    int n = 0;
    for (int d = 0; d < ndim; ++d) {
        const bool gone = reduces && reduced(d);
        if (!gone || keepdims) shape[n++] = gone ? 1 : PyArray_DIM(x, d);
    }
    return n;
}

bool Call::take_out(PyObject *given) {
    if (!given) return true;
    if (narrows || !PyArray_CheckExact(given)) return false;
    result.borrow(reinterpret_cast<PyArrayObject *>(given));
    npy_intp shape[NPY_MAXDIMS];
    const int n = result_shape(shape);
    if (PyArray_NDIM(result) != n || !PyArray_CompareLists(PyArray_DIMS(result), shape, n)) return false;
    if (PyArray_DESCR(result) != PyArray_DESCR(x) || !PyArray_ISCARRAY(result)) return false;
    const Extent to(result);
    const bool same = !reduces && PyArray_BYTES(x) == PyArray_BYTES(result) && PyArray_IS_C_CONTIGUOUS(x);
    PyArrayObject *const read[] = {where, temperature, same ? nullptr : static_cast<PyArrayObject *>(x)};
    for (PyArrayObject *array : read)
        if (array && !to.apart(Extent(array))) return false;
    return given_out = true;
}

// Whether the row's dimensions are one in memory, and its step: those of x or of what is broadcast to it.
bool Call::merges(const npy_intp *strides, npy_intp *step) const {
    npy_intp spans = 0;
    bool any = false;
    *step = item_size(format);
    for (int k = ndim - 1; k >= batch; --k) {
        const npy_intp n = PyArray_DIM(x, order[k]), stride = strides[order[k]];
        if (n == 1) continue;
        if (any && stride != spans) return false;
        if (!any) *step = stride;
        any = true;
        spans = n * stride;
    }
    return true;
}

bool Call::is_slab(Slab *slab) const {
    if (where || temperature || one_temperature != 1 || undefined != Undefined::nan) return false;
    if (!PyArray_IS_C_CONTIGUOUS(x) || order[ndim - 1] - order[batch] != ndim - 1 - batch) return false;
    *slab = {1, 1, 1};
    for (int d = 0; d < ndim; ++d)
        (d < order[batch] ? slab->outer : d > order[ndim - 1] ? slab->inner : slab->length) *= PyArray_DIM(x, d);
    return true;
}

// A small array whose rows are not one axis in memory is copied with the row's axes last.
bool Call::copy_rows(Owned *array) const {
    if (PyArray_SIZE(*array) >= small_below || PyArray_NDIM(*array) != ndim) return false;
    npy_intp permutation[NPY_MAXDIMS];
    for (int k = 0; k < ndim; ++k) permutation[k] = order[k];
    PyArray_Dims dims{permutation, ndim};
    Owned view, copy;
    view.take(PyArray_Transpose(*array, &dims));
    if (!view) return false;
    copy.take(PyArray_NewCopy(view, NPY_CORDER));
    for (int k = 0; k < ndim; ++k) permutation[order[k]] = k;
    if (copy) array->take(PyArray_Transpose(copy, &dims));
    return copy && *array;
}

bool Call::make_result() {
    if (result) return true;
    if (owns_x && !reduces) return result.borrow(x), true;
    if (!reduces) {
        result.take(PyArray_NewLikeArray(x, NPY_KEEPORDER, nullptr, 0));
    } else {
        npy_intp shape[NPY_MAXDIMS];
        const int n = result_shape(shape);
        result.take(new_array(n, shape, PyArray_DESCR(x)));
    }
    return result;
}

bool Call::describe_rows(Job *job) {
    npy_intp step;
    if (PyArray_SIZE(x) == 0) return false;
    if (!merges(PyArray_STRIDES(x), &step)) {
        if (!copy_rows(&x) || !merges(PyArray_STRIDES(x), &step)) return false;
        owns_x = true;
    }
    job->format = format;
    job->undefined = undefined;
    job->x = PyArray_BYTES(x);
    job->x_step = step;
    job->dimensions = batch;
    job->length = 1;
    for (int k = 0; k < batch; ++k) {
        job->shape[k] = PyArray_DIM(x, order[k]);
        job->x_stride[k] = PyArray_STRIDE(x, order[k]);
    }
    for (int k = batch; k < ndim; ++k) job->length *= PyArray_DIM(x, order[k]);
    return describe_where(job) && describe_temperature(job);
}

bool Call::describe(Job *job) { return describe_rows(job) && make_result() && describe_result(job); }

bool Call::describe_where(Job *job) const {
    npy_intp strides[NPY_MAXDIMS], step;
    if (!where) return true;
    if (!broadcast(where, ndim, PyArray_DIMS(x), strides) || !merges(strides, &step)) return false;
    job->where = PyArray_BYTES(where);
    job->where_step = step;
    for (int k = 0; k < batch; ++k) job->where_stride[k] = strides[order[k]];
    return true;
}

bool Call::describe_temperature(Job *job) const {
    if (!temperature) {  // one number, read again and again
        if (one_temperature != 1) job->temperature = reinterpret_cast<const char *>(&one_temperature);
        return true;
    }
    npy_intp shape[NPY_MAXDIMS], strides[NPY_MAXDIMS];
    for (int d = 0; d < ndim; ++d) shape[d] = reduced(d) ? 1 : PyArray_DIM(x, d);
    if (!broadcast(temperature, ndim, shape, strides)) return false;
    job->temperature = PyArray_BYTES(temperature);
    for (int k = 0; k < batch; ++k) job->temperature_stride[k] = strides[order[k]];
    return true;
}

bool Call::describe_vector(Owned *given, bool one_a_row, Job *job) {
    npy_intp shape[NPY_MAXDIMS], strides[NPY_MAXDIMS] = {}, of_batch[NPY_MAXDIMS], step = 0;
    const bool kept = !one_a_row || keepdims;
    for (int d = 0; d < ndim; ++d) shape[d] = one_a_row && reduced(d) ? 1 : PyArray_DIM(x, d);
    if (kept) {
        if (!broadcast(*given, ndim, shape, strides)) return false;
        if (!one_a_row && !merges(strides, &step) &&
            (!copy_rows(given) || !broadcast(*given, ndim, shape, strides) || !merges(strides, &step)))
            return false;
    } else {
        for (int k = 0; k < batch; ++k) shape[k] = PyArray_DIM(x, order[k]);
        if (!broadcast(*given, batch, shape, of_batch)) return false;
        for (int k = 0; k < batch; ++k) strides[order[k]] = of_batch[k];
    }
    job->v = PyArray_BYTES(*given);
    job->v_step = step;
    for (int k = 0; k < batch; ++k) job->v_stride[k] = strides[order[k]];
    return true;
}

bool Call::describe_result(Job *job) const {
    job->y = PyArray_BYTES(result);
    if (reduces) {
        for (int k = 0; k < batch; ++k) job->y_stride[k] = PyArray_STRIDE(result, keepdims ? order[k] : k);
        return true;
    }
    npy_intp step;
    if (!merges(PyArray_STRIDES(result), &step)) return false;
    job->y_step = step;
    for (int k = 0; k < batch; ++k) job->y_stride[k] = PyArray_STRIDE(result, order[k]);
    return true;
}

// The doubles as float32, in the same order in memory; NumPy's cast would warn of overflow.
bool Call::narrow() {
    Owned narrowed;
    narrowed.take(PyArray_NewLikeArray(result, NPY_KEEPORDER, PyArray_DescrFromType(NPY_FLOAT), 0));
    if (!narrowed) return false;
    FloatingPoint environment;
    const auto *from = static_cast<const double *>(PyArray_DATA(result));
    auto *to = static_cast<float *>(PyArray_DATA(narrowed));
    const npy_intp size = PyArray_SIZE(result);
    for (npy_intp i = 0; i < size; ++i) to[i] = static_cast<float>(from[i]);
    result.take(narrowed.release());
    return true;
}

}  // namespace stablesoftmax
