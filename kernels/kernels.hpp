// The table of kernels: what every level offers, in pointers, lengths and byte strides.
#pragma once

#include <cstddef>
#include <cstdint>

#include "storage.hpp"

namespace stablesoftmax {

enum class Operation { softmax, log_softmax, logsumexp };
enum class Format { float32, float64, float16, bfloat16 };
enum class Undefined { nan, zero, uniform };

constexpr size_t operations = 3, formats = 4;

inline size_t item_size(Format format) {
    return format == Format::float64 ? 8 : format == Format::float32 ? 4 : 2;
}

// What all rows of a call share, and what a thread owns.
struct Context {
    Undefined undefined = Undefined::nan;
    size_t threads = 1;            // that one row may use
    void *exponentials = nullptr;  // room for `cached_bytes`, or null
};

// A row whose exponentials fit in this keeps them between the sweeps; a longer one computes them
// twice. Half of a small second-level cache.
constexpr size_t cached_bytes = 1 << 19;

// A row long enough to be worth several threads: below, a part costs less than waking one.
constexpr size_t parallel_length = 1 << 17;

// One row anywhere: any steps, a mask, a temperature.
struct Row {
    const char *x;
    ptrdiff_t x_step;
    char *y;
    ptrdiff_t y_step;
    const char *where;  // bytes, 0 or not; or null
    ptrdiff_t where_step;
    double temperature;  // 1: none
    size_t length;
};

// `count` rows, each contiguous in x and y.
using Rows = void (*)(const char *x, ptrdiff_t x_stride, char *y, ptrdiff_t y_stride, size_t count,
                      size_t length, const Context &);

// `count` rows side by side: element i of row j at x + i·x_step + j·itemsize. The y of logsumexp has
// one element a row, y_step apart.
using Columns = void (*)(const char *x, ptrdiff_t x_step, char *y, ptrdiff_t y_step, size_t count,
                         size_t length, const Context &);

// Rows of unequal length, one after another: row r is elements offsets[r] to offsets[r + 1] of x, and
// of y. The y of logsumexp has one element a row, y_step apart.
using Ragged = void (*)(const char *x, char *y, ptrdiff_t y_step, const size_t *offsets, size_t count,
                        const Context &);

using OneRow = void (*)(const Row &, const Context &);

// Whether the row is undefined: several +inf and no NaN, or nothing but -inf.
using IsUndefined = bool (*)(const Row &);

// What a row of logits is held against: the loss is Σ q_c·(-log p_c) with
// q_c = weight_c·((1 - smoothing)·([c == label] + targets_c) + smoothing / classes that take part).
struct Target {
    ptrdiff_t label = -1;                 // a class of the row, or -1
    const char *targets = nullptr;        // one number a class, `target_step` bytes apart; or null
    ptrdiff_t target_step = 0;
    Format target_format = Format::float64;
    const double *weight = nullptr;       // one a class; or null
    double smoothing = 0;
    double scale = 1;                     // of the gradient

    bool ignored() const { return label < 0 && !targets; }
    bool exact() const { return !weight && smoothing == 0; }  // q is the label itself
};

// Returns the loss of the row; its gradient goes to y, unless that is null. No temperature.
using LossRow = double (*)(const Row &, const Target &, const Context &);

// The log-probabilities of the `count` elements that `index` names go to y, contiguous.
using SelectRow = void (*)(const Row &, const int64_t *index, size_t count, const Context &);

// Some elements of x, contiguous, each with the number of its group's entry.
struct Members {
    const char *x;
    const size_t *entry;
    size_t count;  // at most most_members
};
constexpr size_t most_members = 512;

// One entry for each group and column.
struct GroupSums {
    double *max;   // or null: all 0
    void *sum;     // doubles; for float64, pairs of them. In the end, what the results are made with
    double *ties;  // members equal to the maximum; null if max is
};

using AbsorbMembers = void (*)(const Members &, const GroupSums &);
using ForEntries = void (*)(const GroupSums &, size_t first, size_t last);

// Groups whose members lie anywhere: absorb all; are they trusted? Then settle. Else record the maxima
// too, settle, absorb again, finish. Then write, members or logsumexp; y is contiguous and may be x.
struct Scattered {
    bool records_maxima[operations];  // from the first
    AbsorbMembers absorb, absorb_again;
    bool (*are_trusted[operations])(const GroupSums &, size_t first, size_t last);
    ForEntries settle[operations], finish[operations];
    void (*write[operations])(const Members &, const GroupSums &, char *y);  // not of logsumexp
    void (*write_logsumexp)(const GroupSums &, size_t first, size_t count, char *y);
};

// Of a row of p and one of q, whose mask is that of p, to one element of p's y.
using TwoRows = void (*)(const Row &p, const Row &q, const Context &);

// What a product with a Jacobian is made of: p = softmax(x), and v.
enum class Product {
    softmax,                 // p·(v - mean), the mean of v under p; its own transpose
    log_softmax,             // v - mean
    log_softmax_transposed,  // v - p·Σv
    logsumexp,               // the mean: one number a row
    logsumexp_transposed,    // p·v
};
constexpr size_t products = 5;

// Rows side by side: element i of row j of x at x + i·x_step + j·x_across, and so of the others.
struct ProductRows {
    const char *x;
    ptrdiff_t x_step, x_across;
    const char *v;
    ptrdiff_t v_step, v_across;
    Format v_format;
    char *y;
    ptrdiff_t y_step, y_across;
    const char *where;  // bytes, 0 or not; or null
    ptrdiff_t where_step, where_across;
    const char *temperature;  // doubles, one a row; or null
    ptrdiff_t temperature_across;
    size_t length;

    bool is_included(size_t i, size_t j) const {
        return !where || where[static_cast<ptrdiff_t>(i) * where_step + static_cast<ptrdiff_t>(j) * where_across];
    }
    double temperature_of(size_t j) const {
        if (!temperature) return 1;
        return *reinterpret_cast<const double *>(temperature + static_cast<ptrdiff_t>(j) * temperature_across);
    }
    Row row(size_t j) const {
        const ptrdiff_t k = static_cast<ptrdiff_t>(j);
        return {x + k * x_across, x_step, y + k * y_across, y_step, where ? where + k * where_across : nullptr,
                where_step, temperature_of(j), length};
    }
};
using Multiply = void (*)(const ProductRows &, size_t count, const Context &);

// log Σ v·exp(x) of each row, to one element of y. False: rows that the kernel cannot tell; nothing is promised of y.
using Weigh = bool (*)(const ProductRows &, size_t count, const Context &);
// What is drawn from: the `top_k` largest, the likeliest that make up `top_p`, those at least `min_p` times
// as likely as the likeliest; each of what the one before it left.
struct Filter {
    size_t top_k = SIZE_MAX;
    double top_p = 1, min_p = 0;

    bool keeps_all() const { return !sorts() && min_p == 0; }
    bool sorts() const { return top_k < SIZE_MAX || top_p < 1; }
};

constexpr size_t drawn_chunk = 64;  // weights that are searched one after another

// The doubles that one row's draws take: the weights, as many again to sort, the sums of the chunks.
inline size_t draw_room(size_t length, const Filter &filter) {
    return (length + drawn_chunk) * (filter.sorts() ? 2 : 1) + length / drawn_chunk + 2;
}

// Whether the row has a distribution: no NaN, one +inf at most, and something above -inf.
using CanDraw = bool (*)(const Row &);

// `count` draws from the row, `step` apart: each is given as the bits of a uniform number in [0, 1).
using DrawRow = void (*)(const Row &, const Filter &, int64_t *draws, ptrdiff_t step, size_t count, double *room);

// `count` rows of at most `short_draws` elements, anywhere.
struct DrawnRows {
    const char *x;
    ptrdiff_t x_stride, x_step;
    size_t count, length;
};
constexpr size_t short_draws = 32;

// The same of each, with no filter and no mask: draw k of row r at k·step + r.
using DrawShortRows = void (*)(const DrawnRows &, double temperature, int64_t *draws, size_t step, size_t count);

struct Kernels {
    const char *name;
    Rows rows[operations][formats];
    Columns columns[operations][formats];
    Ragged ragged[operations][formats];
    OneRow row[operations][formats];
    IsUndefined is_undefined[formats];
    LossRow loss[formats];
    SelectRow select[formats];
    Scattered scattered[formats];
    OneRow cumulate[formats];  // log(exp(x_0) + ... + exp(x_i)); no temperature
    OneRow entropy[formats];   // of softmax(x), to one element of y
    TwoRows divergence[formats];  // of softmax(p) from softmax(q); no temperature
    Multiply multiply[products][formats];
    Weigh weigh[formats];
    CanDraw can_draw[formats];
    DrawRow draw[formats];
    DrawShortRows draw_short[formats];
};

// The level in use; chosen once, by the CPU or by STABLESOFTMAX_ISA. `error` is set, and null
// returned, where that names no level that this CPU has.
const Kernels *choose_kernels(const char *forced, const char **error);

}  // namespace stablesoftmax
