// Batches of rows to test with: as bytes, row after row.
#pragma once

#include <random>

#include "kernels.hpp"
#include "plan.hpp"
#include "reference.hpp"

using stablesoftmax::Format;
using stablesoftmax::Operation;
using stablesoftmax::Undefined;

using Bytes = std::vector<char>;

struct Batch {
    Format format;
    size_t count, length;
    Bytes bytes;

    Batch(Format format, size_t count, size_t length)
        : format(format), count(count), length(length), bytes(count * length * item()) {}

    size_t item() const { return stablesoftmax::item_size(format); }
    char *at(size_t row, size_t i = 0) { return bytes.data() + (row * length + i) * item(); }
    const char *at(size_t row, size_t i = 0) const { return bytes.data() + (row * length + i) * item(); }

    std::vector<double> row(size_t r) const {
        std::vector<double> values(length);
        for (size_t i = 0; i < length; ++i) values[i] = reference::decode(format, at(r, i));
        return values;
    }
};

// The kinds of rows: each is there for one way to go wrong.
enum Family {
    normal,         // N(0, 1)
    wide,           // N(0, 10)
    offset,         // U(-300, 300) - 1e4: x - max needs an exact center
    dominated,      // one element far above the rest: the logarithm of 1 + r
    deep,           // down to exp's last subnormal
    ties,           // all the same
    late_maximum,   // the first element, the guess, is far below the others
    balanced,       // a logsumexp that cancels to nearly 0: the last bits of the sum show, and its order
    huge,           // up to the largest number of the format
    some_nothing,   // a third is -inf
    all_nothing,    // all -inf
    one_infinity,
    two_infinities,  // or more
    one_nan,
    nan_and_infinity,  // in either order
    alone,          // a number near 0, and what is nothing beside its exponential
    families
};

// An element before its rounding.
inline double draw(Family family, size_t i, size_t length, size_t chosen, Format format, std::mt19937_64 &random) {
    std::normal_distribution<double> gauss;
    std::uniform_real_distribution<double> uniform(-1, 1);
    const reference::Places p = reference::places(format);
    const double depth = 0.6931472 * (p.digits - p.lowest) + 2;
    switch (family) {
        case wide: return 10 * gauss(random);
        case offset: return 300 * uniform(random) - 1e4;
        case dominated: return i == chosen ? 7.5 : 7.5 - 20 + 15 * uniform(random);
        case deep: return -depth * static_cast<double>(i) / static_cast<double>(length) + uniform(random);
        case ties: return 1.5;
        case late_maximum: return i == 0 ? -500 : gauss(random);
        case huge: return std::ldexp(uniform(random), p.highest);
        case some_nothing: return i % 3 == chosen % 3 ? -INFINITY : gauss(random);
        case all_nothing: return -INFINITY;
        case balanced: return i == chosen ? -0.3 : 2 * gauss(random) - std::log(30 * static_cast<double>(length));
        case one_infinity: return i == chosen ? INFINITY : gauss(random);
        case two_infinities: return i == chosen || i == length / 2 ? INFINITY : gauss(random);
        case nan_and_infinity: return i == chosen ? NAN : i == length / 2 ? INFINITY : gauss(random);
        case alone: return i == chosen ? 1e-9 * gauss(random) : -80;
        case one_nan: return i == chosen ? NAN : gauss(random);
        default: return gauss(random);
    }
}

// Make the sum of the exponentials 1: element `first` takes up what is missing, and the next few what the
// rounding of those before them left.
inline void balance(std::vector<double> &values, size_t first, Format format) {
    using reference::Real;
    reference::Sum sum;
    for (double value : values) sum.add(std::exp(Real(value)));
    Real missing = 1 - sum.value();
    for (size_t k = 0; k < 9; ++k) {
        double &value = values[(first + k) % values.size()];
        const Real now = std::exp(Real(value));
        if (now + missing <= 0) continue;
        value = reference::rounded(format, std::log(now + missing));
        missing += now - std::exp(Real(value));
    }
}

inline void fill_row(Batch &batch, size_t r, Family family, std::mt19937_64 &random) {
    const size_t length = batch.length, chosen = length ? random() % length : 0;
    std::vector<double> values(length);
    for (size_t i = 0; i < length; ++i)
        values[i] = reference::rounded(batch.format, draw(family, i, length, chosen, batch.format, random));
    if (family == balanced && length > 0) balance(values, chosen, batch.format);
    for (size_t i = 0; i < length; ++i) reference::encode(batch.format, values[i], batch.at(r, i));
}

// Row r is of family r.
inline Batch batch_of_families(Format format, size_t length, std::mt19937_64 &random) {
    Batch batch(format, families, length);
    for (size_t r = 0; r < batch.count; ++r) fill_row(batch, r, static_cast<Family>(r), random);
    return batch;
}

// The job of a contiguous batch; y has room for what `operation` returns.
inline stablesoftmax::Job contiguous_job(Operation operation, const Batch &batch, char *y) {
    const ptrdiff_t item = static_cast<ptrdiff_t>(batch.item()), row = item * static_cast<ptrdiff_t>(batch.length);
    stablesoftmax::Job job{};
    job.operation = operation;
    job.format = batch.format;
    job.x = batch.bytes.data();
    job.y = y;
    job.length = batch.length;
    job.x_step = job.y_step = item;
    job.dimensions = 1;
    job.shape[0] = batch.count;
    job.x_stride[0] = row;
    job.y_stride[0] = operation == Operation::logsumexp ? item : row;
    return job;
}

inline size_t result_bytes(Operation operation, const Batch &batch) {
    return batch.count * batch.item() * (operation == Operation::logsumexp ? 1 : batch.length);
}
