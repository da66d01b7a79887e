// Where a row comes from and where it goes, in blocks.
//
// The direct ends are plain pointers; the staged ones gather, convert, mask and divide by the
// temperature on the way in, and convert and scatter on the way out.
#pragma once

#include "state.hpp"

namespace stablesoftmax::LEVEL {

// A block of input: x, and where the Source has one, its unrounded rest.
template <class S>
struct Chunk {
    const S *x;
    const compute<S> *low;
};

// Contiguous elements of format S, read in place.
template <class S>
struct DirectSource {
    using Storage = S;
    static constexpr bool with_low = false;
    const S *x;

    INLINE Chunk<S> chunk(size_t begin, size_t) { return {x + begin, nullptr}; }
    INLINE bool is_masked() const { return false; }
    INLINE bool included(size_t) const { return true; }
};

template <class S>
struct DirectSink {
    using Storage = S;
    S *y;

    INLINE S *chunk(size_t begin) { return y + begin; }
    INLINE void flush(size_t, size_t) {}
};

// `count` elements of format S, `step` bytes apart, to or from contiguous elements of T.
template <class T>
using Gather = void (*)(const char *from, ptrdiff_t step, T *to, size_t count);
template <class T>
using Scatter = void (*)(const T *from, char *to, ptrdiff_t step, size_t count);

INLINE void convert(Vector<float> v, size_t, float *to) { store(to, v); }
INLINE void convert(Vector<double> v, size_t, double *to) { store(to, v); }
INLINE void convert(Vector<float> v, size_t, double *to) {
    Wide w = widen(v);
    store(to, w.low);
    store(to + Lanes<double>::count, w.high);
}

template <class S, class T>
void gather(const char *from, ptrdiff_t step, T *to, size_t count) {
    constexpr size_t W = Lanes<compute<S>>::count;
    if (step == static_cast<ptrdiff_t>(sizeof(S)))
        return for_vectors<compute<S>>(count, [=](size_t i, size_t lanes) {
            convert(load_lanes(reinterpret_cast<const S *>(from) + i, lanes), lanes, to + i);
        });
    S packed[W];
    for (size_t i = 0; i < count; i += W) {
        size_t lanes = count - i < W ? count - i : W;
        for (size_t j = 0; j < lanes; ++j)
            std::memcpy(&packed[j], from + static_cast<ptrdiff_t>(i + j) * step, sizeof(S));
        convert(load_lanes(packed, lanes), lanes, to + i);  // `to` has room for whole vectors
    }
}

INLINE Vector<float> take(const float *from, Vector<float>) { return load(from); }
INLINE Vector<double> take(const double *from, Vector<double>) { return load(from); }
INLINE Vector<float> take(const double *from, Vector<float>) {
    return narrow({load(from), load(from + Lanes<double>::count)});
}

template <class S, class T>
void scatter(const T *from, char *to, ptrdiff_t step, size_t count) {
    constexpr size_t W = Lanes<compute<S>>::count;
    if (step == static_cast<ptrdiff_t>(sizeof(S)))
        return for_vectors<compute<S>>(count, [=](size_t i, size_t lanes) {
            store_lanes(reinterpret_cast<S *>(to) + i, take(from + i, Vector<compute<S>>{}), lanes);
        });
    S packed[W];
    for (size_t i = 0; i < count; i += W) {
        size_t lanes = count - i < W ? count - i : W;
        store(packed, take(from + i, Vector<compute<S>>{}));
        for (size_t j = 0; j < lanes; ++j)
            std::memcpy(to + static_cast<ptrdiff_t>(i + j) * step, &packed[j], sizeof(S));
    }
}

constexpr size_t staged_room = block_size + 64;  // a block, and what whole vectors write beyond it

// Elements anywhere: gathered, converted to T, masked, and if `tempered` divided by the temperature.
template <class T, bool tempered>
struct StagedSource {
    using Storage = T;
    static constexpr bool with_low = tempered;

    const Row &row;
    Gather<T> gather;
    T center = 0;    // subtracted before the division, by the rule of shift_at
    T peak = 0;      // the maximum
    alignas(64) T x[staged_room];
    alignas(64) T low[with_low ? staged_room : 1];

    StagedSource(const Row &row, Gather<T> gather) : row(row), gather(gather) {
        if constexpr (tempered) find_center();
    }
    // A source of one's own for the same row: all but the blocks.
    StagedSource(const StagedSource &other)
        : row(other.row), gather(other.gather), center(other.center), peak(other.peak) {}

    INLINE bool is_masked() const { return row.where; }
    INLINE bool included(size_t i) const {
        return !row.where || row.where[static_cast<ptrdiff_t>(i) * row.where_step];
    }

    void fetch(size_t begin, size_t count) {
        gather(row.x + static_cast<ptrdiff_t>(begin) * row.x_step, row.x_step, x, count);
        if (!row.where) return;
        for (size_t i = 0; i < count; ++i)
            if (!included(begin + i)) x[i] = -std::numeric_limits<T>::infinity();
    }

    void find_center() {
        T max = -std::numeric_limits<T>::infinity();
        for (size_t begin = 0; begin < row.length; begin += block_size) {
            size_t count = row.length - begin < block_size ? row.length - begin : block_size;
            fetch(begin, count);
            for (size_t i = 0; i < count; ++i) max = x[i] > max ? x[i] : max;
        }
        peak = max;
        T size = max < 0 ? -max : max;
        if (max - max == 0 && size / static_cast<T>(row.temperature) > Limits<T>::exact) center = max;
    }

    Chunk<T> chunk(size_t begin, size_t count) {
        fetch(begin, count);
        if constexpr (tempered) divide(count);
        return {x, low};
    }

    // x / temperature, as x + low. The limits are rows of 0 and -inf: at 0 the maximum alone is
    // left, at infinity all that is finite is the same.
    void divide(size_t count) {
        std::memset(low, 0, count * sizeof(T));
        constexpr T infinity = std::numeric_limits<T>::infinity();
        const T temperature = static_cast<T>(row.temperature);
        if (temperature == 0) {
            if (peak - peak == 0)
                for (size_t i = 0; i < count; ++i) x[i] = x[i] == peak ? 0 : x[i] < peak ? -infinity : x[i];
        } else if (temperature == infinity) {
            for (size_t i = 0; i < count; ++i) x[i] = x[i] - x[i] == 0 ? 0 : x[i];
        } else {
            // 1 / 1e-320 would overflow, and so would 1e308 - -1e308 before its division by 3: both
            // sides are multiplied by a power of two, which changes nothing else.
            const double lower = temperature > 1 ? 0.25 : 1, lift = temperature < 0x1p-900 ? 0x1p200 : 1;
            const double lifted = temperature * lower * lift, inverse = 1 / lifted;
            const Pair<double> back = two_product<double>(broadcast(inverse), broadcast(lifted));
            const Vector<double> inverse_rest = ((1 - back.head) - back.tail) * inverse;
            for (size_t i = 0; i < count; i += Lanes<double>::count) {
                Vector<double> d = (load(x + i) * lower - center * lower) * lift;
                Pair<double> q = two_product<double>(d, broadcast(inverse));
                Vector<double> rest = q.tail + d * inverse_rest;
                store(x + i, q.head);
                store(low + i, rest - rest == 0 ? rest : Vector<double>{});
            }
        }
    }
};

template <class T>
struct StagedSink {
    using Storage = T;
    const Row &row;
    Scatter<T> scatter;
    alignas(64) T y[staged_room];

    StagedSink(const Row &row, Scatter<T> scatter) : row(row), scatter(scatter) {}
    StagedSink(const StagedSink &other) : row(other.row), scatter(other.scatter) {}

    INLINE T *chunk(size_t) { return y; }
    INLINE void flush(size_t begin, size_t count) {
        scatter(y, row.y + static_cast<ptrdiff_t>(begin) * row.y_step, row.y_step, count);
    }
};

}  // namespace stablesoftmax::LEVEL
