// One table of signatures, and what each member does with its arguments. docs/speed.md says to users
// which arguments are plain.
#include "plain.hpp"

#include <cmath>
#include <cstring>
#include <initializer_list>

#include "../environment.hpp"
#include "call.hpp"

namespace stablesoftmax {
namespace {

// ---- softmax, log_softmax, logsumexp ---------------------------------------------------------------

PyObject *weighted(const Arguments &);

template <Operation operation>
PyObject *exponentials(const Arguments &given) {
    constexpr bool reduces = operation == Operation::logsumexp;
    if (reduces && given.other && given.other != Py_None) return weighted(given);
    Call call(reduces);
    if (!call.take_x(given.x) || !call.take_axes(given.axis, reduces) || !call.take_where(given.where) ||
        !call.take_temperature(given.temperature) || !call.take_dtype(given.dtype) || !call.take_options(given) ||
        !call.take_out(given.out))
        return nullptr;
    const npy_intp size = PyArray_SIZE(call.x);
    Slab slab;
    Job job{};
    bool finished;
    if (call.is_slab(&slab)) {
        if (!call.make_result()) return nullptr;
        const char *x = PyArray_BYTES(call.x);
        char *y = PyArray_BYTES(call.result);
        finished = unlocked(size, [&] {
            if (size >= small_below) return run_large(*kernels, operation, call.format, x, y, slab, may_continue);
            run_small(*kernels, operation, call.format, x, y, slab);
            return true;
        });
    } else {
        if (!call.describe(&job)) return nullptr;
        job.operation = operation;
        finished = unlocked(size, [&] { return run(*kernels, job, may_continue); });
    }
    if (!finished || (call.narrows && !call.narrow())) return nullptr;
    PyObject *result = call.result.release();
    return call.given_out ? result : PyArray_Return(reinterpret_cast<PyArrayObject *>(result));
}

// ---- what has its classes on one axis ----------------------------------------------------------------

// Integers as int64, in C order, a copy. uint64 is left to Python: 2^64 - 100 is no -100.
bool read_integers(PyObject *given, Owned *numbers) {
    Owned array;
    if (PyArray_CheckExact(given))
        array.borrow(reinterpret_cast<PyArrayObject *>(given));
    else if (PyList_CheckExact(given) || PyTuple_CheckExact(given))
        array.take(PyArray_FromAny(given, nullptr, 0, 0, 0, nullptr));
    if (!array) return PyErr_Clear(), false;
    const bool wraps = PyArray_ITEMSIZE(array) == 8 && PyArray_ISUNSIGNED(array);
    if (!PyArray_ISINTEGER(array) || wraps) return false;
    numbers->take(PyArray_CastToType(array, PyArray_DescrFromType(NPY_INT64), 0));
    return *numbers ? true : (PyErr_Clear(), false);
}

// Whether the array has x's dimensions without the row's, at its front.
bool has_batch(PyArrayObject *array, const Call &call) {
    for (int k = 0; k < call.batch; ++k)
        if (PyArray_DIM(array, k) != PyArray_DIM(call.x, call.order[k])) return false;
    return true;
}

struct Losses {
    Call call;
    LossJob job{};
    Owned labels, loss;
    enum { mean, sum, none } reduction = mean;
    double divisor = 1;

    explicit Losses(bool with_gradient) : call(!with_gradient) {}

    bool take_options(const Arguments &given) {
        if (PyObject *smoothing = given.label_smoothing) {
            if (!PyFloat_CheckExact(smoothing)) return false;
            job.target.smoothing = PyFloat_AS_DOUBLE(smoothing);
            if (!(job.target.smoothing >= 0 && job.target.smoothing <= 1)) return false;
        }
        if (!given.reduction) return true;
        if (!PyUnicode_CheckExact(given.reduction)) return false;
        for (auto [name, value] : {std::pair{"mean", mean}, std::pair{"sum", sum}, std::pair{"none", none}})
            if (PyUnicode_CompareWithASCIIString(given.reduction, name) == 0) return reduction = value, true;
        return false;
    }

    bool take_weight(PyObject *given) {
        if (!given) return true;
        if (!PyArray_CheckExact(given)) return false;
        auto *weight = reinterpret_cast<PyArrayObject *>(given);
        if (PyArray_TYPE(weight) != NPY_DOUBLE || !PyArray_ISCARRAY_RO(weight) || PyArray_NDIM(weight) != 1) return false;
        if (PyArray_SIZE(weight) != PyArray_DIM(call.x, call.order[call.batch])) return false;
        const auto *value = static_cast<const double *>(PyArray_DATA(weight));
        for (npy_intp c = 0; c < PyArray_SIZE(weight); ++c)
            if (!(value[c] >= 0 && std::isfinite(value[c]))) return false;
        job.target.weight = value;
        return true;
    }

    // Classes, -1 in place of what is ignored; and what the mean divides by.
    bool take_labels(PyObject *given, PyObject *ignore_index) {
        npy_int64 ignored = -100;
        if (ignore_index) {
            if (!PyLong_CheckExact(ignore_index)) return false;
            ignored = PyLong_AsLongLong(ignore_index);
            if (PyErr_Occurred()) return PyErr_Clear(), false;
        }
        if (!read_integers(given, &labels) || PyArray_NDIM(labels) != call.batch || !has_batch(labels, call)) return false;
        const npy_intp rows = PyArray_SIZE(labels), classes = PyArray_DIM(call.x, call.order[call.batch]);
        auto *label = static_cast<npy_int64 *>(PyArray_DATA(labels));
        npy_intp count = 0;
        Total weights;
        for (npy_intp r = 0; r < rows; ++r) {
            if (label[r] == ignored) {
                label[r] = -1;
                continue;
            }
            if (label[r] < 0 || label[r] >= classes) return false;
            ++count;
            if (job.target.weight) weights.add(job.target.weight[label[r]]);
        }
        if (reduction == mean) divisor = job.target.weight ? weights.value() : static_cast<double>(count);
        job.target.scale = divisor != 0 ? 1 / divisor : Py_NAN;
        job.labels = reinterpret_cast<const int64_t *>(label);
        return true;
    }

    bool compute() {
        const bool with_gradient = !call.reduces;
        call.owns_x = false;  // x is read again after a gradient is written
        if (!(with_gradient ? call.describe(&job.rows) : call.describe_rows(&job.rows))) return false;
        npy_intp shape[NPY_MAXDIMS];
        for (int k = 0; k < call.batch; ++k) shape[k] = PyArray_DIM(call.x, call.order[k]);
        PyArray_Descr *doubles = PyArray_DescrFromType(NPY_DOUBLE);
        loss.take(new_array(call.batch, shape, doubles));
        Py_DECREF(doubles);
        if (!loss) return false;
        job.loss = static_cast<double *>(PyArray_DATA(loss));
        return unlocked(PyArray_SIZE(call.x), [&] { return run_loss(*kernels, job, may_continue); });
    }

    // The losses, or their sum or mean, in the dtype of the logits.
    PyObject *reduced() {
        const bool single = call.format == Format::float32;
        const npy_intp rows = PyArray_SIZE(loss);
        if (reduction != none) {
            Total total;
            for (npy_intp r = 0; r < rows; ++r) total.add(job.loss[r]);
            double value = divisor != 0 ? total.value() / divisor : Py_NAN;
            float narrow = static_cast<float>(value);
            void *data = single ? static_cast<void *>(&narrow) : &value;
            return PyArray_Scalar(data, PyArray_DESCR(call.x), nullptr);
        }
        if (!single) return PyArray_Return(reinterpret_cast<PyArrayObject *>(loss.release()));
        auto *narrow = reinterpret_cast<PyArrayObject *>(new_array(call.batch, PyArray_DIMS(loss), PyArray_DESCR(call.x)));
        if (!narrow) return nullptr;
        auto *to = static_cast<float *>(PyArray_DATA(narrow));
        for (npy_intp r = 0; r < rows; ++r) to[r] = static_cast<float>(job.loss[r]);
        return PyArray_Return(narrow);
    }
};

template <bool with_gradient>
PyObject *cross_entropies(const Arguments &given) {
    Losses losses(with_gradient);
    Call &call = losses.call;
    if (!given.labels || !is_one_axis(given.axis) || !call.take_x(given.x) || !call.take_axes(given.axis, false) ||
        (call.format != Format::float32 && call.format != Format::float64) || PyArray_SIZE(call.x) == 0 ||
        !call.take_where(given.where) || !losses.take_options(given) || !losses.take_weight(given.weight))
        return nullptr;
    FloatingPoint environment;
    if (!losses.take_labels(given.labels, given.ignore_index) || !losses.compute()) return nullptr;
    PyObject *loss = losses.reduced();
    if (!with_gradient || !loss) return loss;
    return Py_BuildValue("NN", loss, losses.call.result.release());
}

// One entry a row, or several along the last axis.
PyObject *selection(const Arguments &given) {
    Call call(false);
    if (!given.index || !is_one_axis(given.axis) || !call.take_x(given.x) || !call.take_axes(given.axis, false) ||
        !call.take_where(given.where) || !call.take_temperature(given.temperature) || PyArray_SIZE(call.x) == 0)
        return nullptr;
    SelectJob job{};
    Owned index;
    if (!read_integers(given.index, &index) || !call.describe_rows(&job.rows)) return nullptr;
    const int ndim = PyArray_NDIM(index);
    const bool single = ndim == call.batch, several = ndim == call.ndim && call.order[call.batch] == call.ndim - 1;
    if (!(single || several) || !has_batch(index, call)) return nullptr;
    job.count = single ? 1 : static_cast<size_t>(PyArray_DIM(index, call.batch));
    const npy_intp length = static_cast<npy_intp>(job.rows.length), size = PyArray_SIZE(index);
    const auto *place = static_cast<const npy_int64 *>(PyArray_DATA(index));
    for (npy_intp k = 0; k < size; ++k)
        if (place[k] < 0 || place[k] >= length) return nullptr;
    call.result.take(new_array(ndim, PyArray_DIMS(index), PyArray_DESCR(call.x)));
    if (!call.result) return nullptr;
    job.index = reinterpret_cast<const int64_t *>(place);
    job.rows.y = PyArray_BYTES(call.result);
    for (int k = 0; k < call.batch; ++k) job.rows.y_stride[k] = PyArray_STRIDE(call.result, k);
    const auto work = [&] { return size == 0 || run_select(*kernels, job, may_continue); };
    if (!unlocked(PyArray_SIZE(call.x), work)) return nullptr;
    return PyArray_Return(reinterpret_cast<PyArrayObject *>(call.result.release()));
}

PyObject *entropies(const Arguments &given) {
    Call call(true);
    Job job{};
    if (!call.take_x(given.x) || !call.take_axes(given.axis, false) || !call.take_where(given.where) ||
        !call.take_temperature(given.temperature) || !call.take_options(given) || !call.describe(&job))
        return nullptr;
    if (!unlocked(PyArray_SIZE(call.x), [&] { return run_entropy(*kernels, job, may_continue); })) return nullptr;
    return PyArray_Return(reinterpret_cast<PyArrayObject *>(call.result.release()));
}

PyObject *divergences(const Arguments &given) {
    Call p(true), q(true);
    DivergenceJob job{};
    if (!given.other || !p.take_x(given.x) || !q.take_x(given.other) || p.format != q.format || p.ndim != q.ndim ||
        !PyArray_CompareLists(PyArray_DIMS(p.x), PyArray_DIMS(q.x), p.ndim))
        return nullptr;
    if (!p.take_axes(given.axis, false) || !q.take_axes(given.axis, false) || !p.take_where(given.where) ||
        !p.take_options(given) || !p.describe(&job.p) || !q.describe_rows(&job.q))
        return nullptr;
    if (!unlocked(PyArray_SIZE(p.x), [&] { return run_divergence(*kernels, job, may_continue); })) return nullptr;
    return PyArray_Return(reinterpret_cast<PyArrayObject *>(p.result.release()));
}

// The array that a product multiplies by: of any format of the kernels, or integers as doubles.
bool read_vector(PyObject *given, Owned *vector, Format *format) {
    if (!given) return false;
    if (PyArray_CheckExact(given))
        vector->borrow(reinterpret_cast<PyArrayObject *>(given));
    else if (PyList_CheckExact(given) || PyTuple_CheckExact(given))
        vector->take(PyArray_FromAny(given, nullptr, 0, 0, 0, nullptr));
    if (!*vector) return PyErr_Clear(), false;
    if (format_of(PyArray_DESCR(*vector), format)) return PyArray_ISALIGNED(*vector);
    if (!PyArray_ISINTEGER(*vector) || PyArray_SIZE(*vector) >= small_below) return false;
    *format = Format::float64;
    vector->take(PyArray_CastToType(*vector, PyArray_DescrFromType(NPY_DOUBLE), 0));
    return *vector ? true : (PyErr_Clear(), false);
}

// Whether weights of that format leave the result in x's own.
bool keeps_dtype(Format x, Format weights) {
    return weights == x || x == Format::float64 || (x == Format::float32 && weights != Format::float64);
}

// logsumexp with b: numbers and arrays that broadcast to x, of finite rows.
PyObject *weighted(const Arguments &given) {
    Call call(true);
    Job job{};
    Owned b;
    double number;
    if (given.dtype || !call.take_x(given.x) || !call.take_axes(given.axis, true) ||
        !call.take_where(given.where) || !call.take_options(given) || !call.take_out(given.out))
        return nullptr;
    if (PyFloat_CheckExact(given.other)) {  // a plain number widens nothing
        number = PyFloat_AS_DOUBLE(given.other);
        job.v = reinterpret_cast<const char *>(&number);
        job.v_format = Format::float64;
    } else if (!read_vector(given.other, &b, &job.v_format) || !keeps_dtype(call.format, job.v_format) ||
               !call.describe_vector(&b, false, &job)) {
        return nullptr;
    }
    if (!call.describe(&job)) return nullptr;
    bool settled = true;
    if (!unlocked(PyArray_SIZE(call.x), [&] { return run_weighted(*kernels, job, &settled, may_continue); }) || !settled)
        return nullptr;
    PyObject *result = call.result.release();
    return call.given_out ? result : PyArray_Return(reinterpret_cast<PyArrayObject *>(result));
}

template <Product product>
PyObject *jacobian_product(const Arguments &given) {
    constexpr bool reduces = product == Product::logsumexp, one_a_row = product == Product::logsumexp_transposed;
    Call call(reduces);
    Job job{};
    Owned v;
    if (!call.take_x(given.x) || !call.take_axes(given.axis, reduces || one_a_row) || !call.take_where(given.where) ||
        !call.take_temperature(given.temperature) || !call.take_options(given) ||
        !read_vector(given.other, &v, &job.v_format) || !call.describe_vector(&v, one_a_row, &job) ||
        !call.describe(&job))
        return nullptr;
    if (!unlocked(PyArray_SIZE(call.x), [&] { return run_product(*kernels, product, job, may_continue); })) return nullptr;
    PyObject *result = call.result.release();
    return reduces ? PyArray_Return(reinterpret_cast<PyArrayObject *>(result)) : result;
}

PyObject *cumulation(const Arguments &given) {
    Call call(false);
    Job job{};
    if (!is_one_axis(given.axis) || !call.take_x(given.x) || !call.take_axes(given.axis, false) ||
        !call.take_where(given.where) || !call.describe(&job))
        return nullptr;
    if (!unlocked(PyArray_SIZE(call.x), [&] { return run_cumulate(*kernels, job, may_continue); })) return nullptr;
    return call.result.release();
}

}  // namespace

// ---- the table ---------------------------------------------------------------------------------------

namespace {

constexpr int most_parameters = 9;

struct Parameter {
    const char *name;
    PyObject *Arguments::*value;
    PyObject *interned = nullptr;
};

}  // namespace

// What stands in no line (return_sign, dim) goes to Python.
struct Signature {
    const char *function;
    PyObject *(*compute)(const Arguments &);
    int positional;
    Parameter parameters[most_parameters];
};

namespace {

using A = Arguments;

Signature signatures[] = {
    {"softmax", exponentials<Operation::softmax>, 2,
     {{"x", &A::x}, {"axis", &A::axis}, {"where", &A::where}, {"temperature", &A::temperature}, {"out", &A::out},
      {"dtype", &A::dtype}, {"undefined", &A::undefined}}},
    {"log_softmax", exponentials<Operation::log_softmax>, 2,
     {{"x", &A::x}, {"axis", &A::axis}, {"where", &A::where}, {"temperature", &A::temperature}, {"out", &A::out},
      {"dtype", &A::dtype}, {"undefined", &A::undefined}}},
    {"logsumexp", exponentials<Operation::logsumexp>, 2,
     {{"x", &A::x}, {"axis", &A::axis}, {"b", &A::other}, {"where", &A::where}, {"out", &A::out}, {"dtype", &A::dtype},
      {"keepdims", &A::keepdims}}},
    {"cross_entropy", cross_entropies<false>, 3,
     {{"logits", &A::x}, {"labels", &A::labels}, {"axis", &A::axis}, {"weight", &A::weight},
      {"ignore_index", &A::ignore_index}, {"label_smoothing", &A::label_smoothing}, {"where", &A::where},
      {"reduction", &A::reduction}}},
    {"cross_entropy_with_grad", cross_entropies<true>, 3,
     {{"logits", &A::x}, {"labels", &A::labels}, {"axis", &A::axis}, {"weight", &A::weight},
      {"ignore_index", &A::ignore_index}, {"label_smoothing", &A::label_smoothing}, {"where", &A::where},
      {"reduction", &A::reduction}}},
    {"selected_log_softmax", selection, 3,
     {{"x", &A::x}, {"index", &A::index}, {"axis", &A::axis}, {"where", &A::where}, {"temperature", &A::temperature}}},
    {"logcumsumexp", cumulation, 2, {{"x", &A::x}, {"axis", &A::axis}, {"where", &A::where}}},
    {"kl_divergence", divergences, 3,
     {{"p_logits", &A::x}, {"q_logits", &A::other}, {"axis", &A::axis}, {"keepdims", &A::keepdims},
       {"where", &A::where}}},
    {"softmax_vjp", jacobian_product<Product::softmax>, 3,
     {{"x", &A::x}, {"g", &A::other}, {"axis", &A::axis}, {"where", &A::where}, {"temperature", &A::temperature}}},
    {"softmax_jvp", jacobian_product<Product::softmax>, 3,
     {{"x", &A::x}, {"dx", &A::other}, {"axis", &A::axis}, {"where", &A::where}, {"temperature", &A::temperature}}},
    {"log_softmax_vjp", jacobian_product<Product::log_softmax_transposed>, 3,
     {{"x", &A::x}, {"g", &A::other}, {"axis", &A::axis}, {"where", &A::where}, {"temperature", &A::temperature}}},
    {"log_softmax_jvp", jacobian_product<Product::log_softmax>, 3,
     {{"x", &A::x}, {"dx", &A::other}, {"axis", &A::axis}, {"where", &A::where}, {"temperature", &A::temperature}}},
    {"logsumexp_vjp", jacobian_product<Product::logsumexp_transposed>, 3,
     {{"x", &A::x}, {"g", &A::other}, {"axis", &A::axis}, {"keepdims", &A::keepdims}, {"where", &A::where}}},
    {"logsumexp_jvp", jacobian_product<Product::logsumexp>, 3,
     {{"x", &A::x}, {"dx", &A::other}, {"axis", &A::axis}, {"keepdims", &A::keepdims}, {"where", &A::where}}},
    {"entropy", entropies, 2,
     {{"x", &A::x}, {"axis", &A::axis}, {"keepdims", &A::keepdims}, {"where", &A::where}, {"temperature", &A::temperature}}},
    {"sample", sampling, 3,
     {{"logits", &A::x}, {"size", &A::size}, {"axis", &A::axis}, {"where", &A::where}, {"temperature", &A::temperature},
      {"top_k", &A::top_k}, {"top_p", &A::top_p}, {"min_p", &A::min_p}, {"rng", &A::rng}}},
};

bool read(const Signature &signature, PyObject *const *args, size_t nargsf, PyObject *names, Arguments *given) {
    const Py_ssize_t positional = PyVectorcall_NARGS(nargsf);
    if (positional > signature.positional) return false;
    for (Py_ssize_t k = 0; k < positional; ++k) given->*signature.parameters[k].value = args[k];
    const Py_ssize_t named = names ? PyTuple_GET_SIZE(names) : 0;
    for (Py_ssize_t k = 0; k < named; ++k) {
        const Parameter *found = nullptr;
        for (const Parameter &parameter : signature.parameters)
            if (parameter.interned == PyTuple_GET_ITEM(names, k)) found = &parameter;
        if (!found || given->*found->value) return false;
        given->*found->value = args[positional + k];
    }
    for (auto optional : {&A::out, &A::where, &A::dtype, &A::weight, &A::size, &A::top_k, &A::top_p, &A::min_p, &A::rng})
        if (given->*optional == Py_None) given->*optional = nullptr;
    return given->x;
}

}  // namespace

const Signature *signature_of(const char *function) {
    for (const Signature &signature : signatures)
        if (std::strcmp(signature.function, function) == 0) return &signature;
    return nullptr;
}

PyObject *plain_call(const Signature &signature, PyObject *const *args, size_t nargsf, PyObject *names) {
    Arguments given{};
    return read(signature, args, nargsf, names, &given) ? signature.compute(given) : nullptr;
}

bool intern_parameters() {
    for (Signature &signature : signatures)
        for (Parameter &parameter : signature.parameters)
            if (parameter.name && !(parameter.interned = PyUnicode_InternFromString(parameter.name))) return false;
    return true;
}

}  // namespace stablesoftmax
