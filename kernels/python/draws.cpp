// `sample`: a plain call, which takes its random numbers from the caller's generator in C; and the kernel alone,
// for numbers that Python drew.
#include <numpy/random/bitgen.h>

#include <atomic>
#include <cstring>

#include "call.hpp"
#include "plain.hpp"

namespace stablesoftmax {
namespace {

PyObject *name_bit_generator, *name_capsule, *name_lock, *name_acquire, *name_release, *name_random;

// numpy.random.Generator, once one has been seen: nobody imports numpy.random to find out. A class derived
// from it may have a `random` of its own.
bool is_generator(PyObject *rng) {
    static std::atomic<PyTypeObject *> known{nullptr};
    PyTypeObject *type = known.load(std::memory_order_acquire);
    if (Py_TYPE(rng) == type) return true;
    if (type) return false;
    PyObject *module = PyImport_GetModule(name_random);
    PyObject *generator = module ? PyObject_GetAttrString(module, "Generator") : nullptr;
    Py_XDECREF(module);
    PyErr_Clear();
    const bool same = generator == reinterpret_cast<PyObject *>(Py_TYPE(rng));
    if (same && known.exchange(Py_TYPE(rng)) == nullptr) return true;  // which keeps this reference
    Py_XDECREF(generator);
    return same;
}

// A generator whose numbers are this thread's while it is held.
class Numbers {
    PyObject *bits = nullptr, *lock = nullptr, *capsule = nullptr;
    bitgen_t *generator = nullptr;

    // False: with an exception set.
    bool call(PyObject *method) {
        PyObject *result = PyObject_VectorcallMethod(method, &lock, 1, nullptr);
        Py_XDECREF(result);
        return result;
    }

  public:
    explicit Numbers(PyObject *rng) : bits(PyObject_GetAttr(rng, name_bit_generator)) {
        if (bits) capsule = PyObject_GetAttr(bits, name_capsule);
        if (capsule) generator = static_cast<bitgen_t *>(PyCapsule_GetPointer(capsule, "BitGenerator"));
        if (generator) lock = PyObject_GetAttr(bits, name_lock);
    }
    Numbers(const Numbers &) = delete;
    Numbers &operator=(const Numbers &) = delete;
    ~Numbers() {
        Py_XDECREF(lock);
        Py_XDECREF(capsule);
        Py_XDECREF(bits);
    }

    // One number a draw: all of one row before the next. False: with an exception set.
    bool fill(int64_t *draws, size_t rows, size_t count) {
        if (!lock || !call(name_acquire)) return false;
        unlocked(static_cast<npy_intp>(rows * count), [&] {
            for (size_t r = 0; r < rows; ++r)
                for (size_t k = 0; k < count; ++k) {
                    const double number = generator->next_double(generator->state);
                    std::memcpy(draws + k * rows + r, &number, sizeof number);
                }
            return true;
        });
        return call(name_release);
    }
};

bool read_probability(PyObject *given, double *number) {
    if (!given) return true;
    if (!PyFloat_CheckExact(given)) return false;
    *number = PyFloat_AS_DOUBLE(given);
    return *number >= 0 && *number <= 1;
}

bool read_filter(const Arguments &given, Filter *filter) {
    if (given.top_k) {
        if (!PyLong_CheckExact(given.top_k)) return false;
        const Py_ssize_t k = PyLong_AsSsize_t(given.top_k);
        if (k < 1) return PyErr_Clear(), false;
        filter->top_k = static_cast<size_t>(k);
    }
    return read_probability(given.top_p, &filter->top_p) && filter->top_p > 0 &&
           read_probability(given.min_p, &filter->min_p);
}

// The shape of the result, and what there is to draw of each row. False: not plain, or nothing.
struct Draws {
    npy_intp shape[NPY_MAXDIMS], count = 1, rows = 1;
    int ndim = 0;

    bool add(PyObject *size) {
        if (!PyLong_CheckExact(size)) return false;
        const Py_ssize_t n = PyLong_AsSsize_t(size);
        if (n < 1) return PyErr_Clear(), false;
        if (ndim == NPY_MAXDIMS) return false;
        shape[ndim++] = n;
        return !__builtin_mul_overflow(count, n, &count);
    }

    bool read(PyObject *size, const Call &call) {
        if (size && PyTuple_CheckExact(size)) {
            for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(size); ++k)
                if (!add(PyTuple_GET_ITEM(size, k))) return false;
        } else if (size && !add(size)) {
            return false;
        }
        if (ndim + call.batch > NPY_MAXDIMS) return false;
        for (int k = 0; k < call.batch; ++k) rows *= shape[ndim++] = PyArray_DIM(call.x, call.order[k]);
        npy_intp bytes;
        return !__builtin_mul_overflow(count, rows, &bytes) && !__builtin_mul_overflow(bytes, npy_intp{8}, &bytes);
    }
};

bool finish(Outcome outcome) {
    if (outcome == Outcome::out_of_memory) PyErr_NoMemory();
    return outcome == Outcome::finished;
}

}  // namespace

PyObject *sampling(const Arguments &given) {
    Call call(true);
    DrawJob job{};
    Draws draws;
    if (!given.rng || !is_generator(given.rng) || !is_one_axis(given.axis) || !call.take_x(given.x) ||
        !call.take_axes(given.axis, false) || !call.take_where(given.where) || !call.take_temperature(given.temperature) ||
        !read_filter(given, &job.filter) || !draws.read(given.size, call) || !call.describe_rows(&job.rows))
        return nullptr;
    const npy_intp size = PyArray_SIZE(call.x);
    if (!unlocked(size, [&] { return all_can_draw(*kernels, job.rows, may_continue); })) return nullptr;
    int64_t one;
    Owned result;
    if (draws.ndim > 0) {
        PyArray_Descr *integers = PyArray_DescrFromType(NPY_INT64);
        result.take(new_array(draws.ndim, draws.shape, integers));
        Py_DECREF(integers);
        if (!result) return nullptr;
    }
    job.draws = result ? static_cast<int64_t *>(PyArray_DATA(result)) : &one;
    job.count = static_cast<size_t>(draws.count);
    if (!Numbers(given.rng).fill(job.draws, static_cast<size_t>(draws.rows), job.count)) return nullptr;
    const npy_intp work = size + draws.rows * draws.count;
    if (!finish(unlocked(work, [&] { return run_draws(*kernels, job, may_continue); }))) return nullptr;
    if (result) return result.release();
    PyArray_Descr *integer = PyArray_DescrFromType(NPY_INT64);
    PyObject *scalar = PyArray_Scalar(&one, integer, nullptr);
    Py_DECREF(integer);
    return scalar;
}

// (dtype, x, where or None, temperature or None, top_k or None, top_p or None, min_p or None, draws of shape
// (count, *batch)): uniform numbers, which become what is drawn.
PyObject *draw(PyObject *, PyObject *args) {
    const char *format;
    PyArrayObject *x, *draws;
    PyObject *where, *temperature;
    Arguments given{};
    DrawJob job{};
    if (!PyArg_ParseTuple(args, "sO!OOOOOO!:draw", &format, &PyArray_Type, &x, &where, &temperature, &given.top_k,
                          &given.top_p, &given.min_p, &PyArray_Type, &draws) ||
        !format_named(format, &job.rows.format) || !describe(&job.rows, x, where) ||
        !set_temperature(&job.rows, temperature, x))
        return nullptr;
    for (PyObject **optional : {&given.top_k, &given.top_p, &given.min_p})
        if (*optional == Py_None) *optional = nullptr;
    if (!read_filter(given, &job.filter))
        return PyErr_Format(PyExc_ValueError, "top_k, top_p, min_p: expected None, or an int >= 1 and floats in [0, 1]");
    npy_intp rows = 1;
    for (int d = 0; d < job.rows.dimensions; ++d) rows *= PyArray_DIM(x, d);
    const bool fits = PyArray_TYPE(draws) == NPY_INT64 && PyArray_ISCARRAY(draws) && PyArray_NDIM(draws) == PyArray_NDIM(x) &&
                      PyArray_CompareLists(PyArray_DIMS(draws) + 1, PyArray_DIMS(x), PyArray_NDIM(x) - 1);
    if (!fits) return PyErr_Format(PyExc_ValueError, "draws: expected a C-contiguous int64 array (count, *batch)");
    if (job.rows.length == 0 || PyArray_SIZE(draws) == 0) Py_RETURN_NONE;
    job.draws = static_cast<int64_t *>(PyArray_DATA(draws));
    job.count = static_cast<size_t>(PyArray_DIM(draws, 0));
    Outcome outcome;
    Py_BEGIN_ALLOW_THREADS;
    outcome = run_draws(*kernels, job, may_continue);
    Py_END_ALLOW_THREADS;
    if (!finish(outcome)) return nullptr;
    Py_RETURN_NONE;
}

bool intern_generator() {
    const std::pair<PyObject **, const char *> names[] = {{&name_bit_generator, "bit_generator"},
                                                          {&name_capsule, "capsule"},
                                                          {&name_lock, "lock"},
                                                          {&name_acquire, "acquire"},
                                                          {&name_release, "release"},
                                                          {&name_random, "numpy.random"}};
    for (auto [name, text] : names)
        if (!(*name = PyUnicode_InternFromString(text))) return false;
    return true;
}

}  // namespace stablesoftmax
