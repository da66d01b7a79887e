// Rows: lanes along the axis.
//
// A row is read in blocks from a Source and written in blocks to a Sink. The direct ones are plain
// pointers; the staged ones gather, convert, mask and divide by the temperature on the way. The
// arithmetic in between is one text.
#pragma once

#include <cstdlib>

#include "kernels.hpp"
#include "parallel.hpp"
#include "state.hpp"

namespace stablesoftmax::LEVEL {

// ---------------------------------------------------------------------------------------------
// One block

// A block of input: x, and where the Source has one, its unrounded rest.
template <class S>
struct Chunk {
    const S *x;
    const compute<S> *low;
};

// Call f(offset, lanes in use) for each vector of `count` elements.
template <class T, class Function>
INLINE void for_vectors(size_t count, Function f) {
    constexpr size_t W = Lanes<T>::count;
    size_t i = 0;
    for (; i + W <= count; i += W) f(i, W);
    if (i < count) f(i, count - i);
}

template <class S>
INLINE Vector<compute<S>> load_lanes(const S *p, size_t lanes) {
    return lanes == Lanes<compute<S>>::count ? load(p) : load_first(p, lanes);
}

template <class S>
INLINE void store_lanes(S *p, Vector<compute<S>> v, size_t lanes) {
    lanes == Lanes<compute<S>>::count ? store(p, v) : store_first(p, v, lanes);
}

template <class T>
INLINE T largest(Vector<T> v) {
    T lanes[Lanes<T>::count];
    store(lanes, v);
    for (size_t half = Lanes<T>::count / 2; half > 0; half /= 2)
        for (size_t j = 0; j < half; ++j)
            lanes[j] = lanes[j] > lanes[j + half] ? lanes[j] : lanes[j + half];
    return lanes[0];
}

// Sum the exponentials of a block, with what their rounding dropped (in [1.5, -2.7] one rounded term
// is most of the sum, and its error would be every result's). For softmax they go to `e` if it is
// given. With `skipping`, elements equal to `skipped` are left out.
template <Operation op, bool with_low, bool skipping, class S, class T = compute<S>>
INLINE Partial<T> absorb(Chunk<S> block, T *e, size_t count, Shift<T> shift, Vector<T> skipped) {
    constexpr bool is_softmax = op == Operation::softmax;
    Accumulator<T> sum;
    Vector<T> max = broadcast<T>(-std::numeric_limits<T>::infinity()), min = -max;
    for_vectors<T>(count, [&](size_t i, size_t lanes) __attribute__((always_inline)) {
        Vector<T> x = load_lanes(block.x + i, lanes);
        Vector<T> low{};
        if constexpr (with_low) low = load_lanes(block.low + i, lanes);
        max = maximum(x, max);
        if constexpr (is_softmax) min = minimum(x, min);
        Exponential<T> exp = exponential<T, with_low, true>(x, low, shift);
        if (lanes < Lanes<T>::count) {
            exp.value = first_lanes<T>(exp.value, lanes);
            exp.residual = first_lanes<T>(exp.residual, lanes);
        }
        if constexpr (skipping) {
            exp.value = x == skipped ? Vector<T>{} : exp.value;
            exp.residual = x == skipped ? Vector<T>{} : exp.residual;
        }
        if constexpr (is_softmax)
            if (e) store_lanes(e + i, exp.value, lanes);
        sum.add(exp.value);
        sum.add_residual(exp.residual);
    });
    return {largest<T>(max), -largest<T>(-min), sum.along()};
}

// ---------------------------------------------------------------------------------------------
// From sums to results

// 1 / sum for the lanes of T: p = (e·head + e·tail)·down.
template <class T>
struct Factor {
    Vector<T> head, tail, down;
};

INLINE Factor<double> factor_of(Sum<double, Vector<double>> sum) {
    Reciprocal r = reciprocal(sum.head, sum.rest);
    return {r.head, r.tail, r.down};
}

INLINE Factor<float> factor_of(Sum<float, Vector<double>> low, Sum<float, Vector<double>> high) {
    Reciprocal a = reciprocal(low.head, Vector<double>{}), b = reciprocal(high.head, Vector<double>{});
    Vector<float> head = narrow({a.head, b.head});
    Wide back = widen(head);
    Vector<float> tail = narrow({a.head - back.low, b.head - back.high});
    return {head, tail, narrow({a.down, b.down})};
}

template <class T>
INLINE Vector<T> times(Vector<T> e, Factor<T> f) {
    if constexpr (has_fma) {
        return multiply_add(e, f.head, e * f.tail) * f.down;
    } else {
        Pair<T> p = two_product<T>(e, f.head);
        return (p.head + (p.tail + e * f.tail)) * f.down;
    }
}

// The same where results may be subnormal, without arithmetic on subnormals (a microcode assist
// each): those are rounded to whole multiples of the smallest one, which are their own bits.
template <class T>
INLINE Vector<T> times_carefully(Vector<T> e, Factor<T> f) {
    using L = Limits<T>;
    Vector<T> p = e * f.head;
    Bits<T> subnormal = p < L::smallest_normal / f.down;
    // 2^149 and 2^1074 are beyond their formats: two steps.
    Vector<T> units = (subnormal ? p : Vector<T>{}) * (f.down * L::units_high * L::units_low);
    Vector<T> magic = broadcast<T>(L::subnormal_places);
    Vector<T> tiny = from_bits<T>(bits_of<T>(units + magic) - bits_of<T>(magic));
    return subnormal ? tiny : times<T>(subnormal ? broadcast<T>(1) : e, f);
}

// max + logarithm, so that log p = (x - head) - tail: x - head is exact where it cancels, and
// [0, -40] keeps its -4.2e-18 in the tail.
INLINE Pair<double> normalizer(Vector<double> max, Pair<double> logarithm) {
    Pair<double> sum = two_sum<double>(max, logarithm.head);
    return two_sum<double>(sum.head, sum.tail + logarithm.tail);
}

INLINE Pair<float> normalizer(Wide max, Wide logarithm) {
    Vector<float> head = narrow({max.low + logarithm.low, max.high + logarithm.high});
    Wide back = widen(head);
    return {head, narrow({(max.low - back.low) + logarithm.low, (max.high - back.high) + logarithm.high})};
}

// ---------------------------------------------------------------------------------------------
// Sources and sinks

// Contiguous elements of format S, read in place.
template <class S>
struct DirectSource {
    using Storage = S;
    static constexpr bool with_low = false;
    const S *x;

    INLINE Chunk<S> chunk(size_t begin, size_t) { return {x + begin, nullptr}; }
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
    S packed[W];
    for (size_t i = 0; i < count; i += W) {
        size_t lanes = count - i < W ? count - i : W;
        store(packed, take(from + i, Vector<compute<S>>{}));
        for (size_t j = 0; j < lanes; ++j)
            std::memcpy(to + static_cast<ptrdiff_t>(i + j) * step, &packed[j], sizeof(S));
    }
}

constexpr size_t staged_room = block_size + 64;  // a block, and what whole vectors write beyond it

// Elements anywhere: gathered, converted to T, masked, divided by the temperature.
template <class T>
struct StagedSource {
    using Storage = T;
    static constexpr bool with_low = sizeof(T) == 8;

    const Row &row;
    Gather<T> gather;
    T center = 0;    // subtracted before the division, by the rule of shift_at
    T peak = 0;      // the maximum, where the temperature is 0
    alignas(64) T x[staged_room];
    alignas(64) T low[with_low ? staged_room : 1];

    StagedSource(const Row &row, Gather<T> gather) : row(row), gather(gather) {
        if (row.temperature != 1) find_center();
    }
    // A source of one's own for the same row: all but the blocks.
    StagedSource(const StagedSource &other)
        : row(other.row), gather(other.gather), center(other.center), peak(other.peak) {}

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
        if constexpr (with_low) std::memset(low, 0, count * sizeof(T));
        if (row.temperature != 1) divide(count);
        return {x, low};
    }

    // x / temperature, as x + low. The limits are rows of 0 and -inf: at 0 the maximum alone is
    // left, at infinity all that is finite is the same.
    void divide(size_t count) {
        constexpr T infinity = std::numeric_limits<T>::infinity();
        const T temperature = static_cast<T>(row.temperature);
        if (temperature == 0) {
            if (peak - peak == 0)
                for (size_t i = 0; i < count; ++i) x[i] = x[i] == peak ? 0 : x[i] < peak ? -infinity : x[i];
        } else if (temperature == infinity) {
            for (size_t i = 0; i < count; ++i) x[i] = x[i] - x[i] == 0 ? 0 : x[i];
        } else if constexpr (with_low) {
            const double inverse = 1 / temperature;
            const Pair<double> back = two_product<double>(broadcast(inverse), broadcast(temperature));
            const Vector<double> inverse_rest = ((1 - back.head) - back.tail) * inverse;
            for (size_t i = 0; i < count; i += Lanes<double>::count) {
                Vector<double> d = load(x + i) - center;
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

// ---------------------------------------------------------------------------------------------
// One row

// A row long enough to be worth several threads: below, a part costs less than waking one.
constexpr size_t parallel_length = 1 << 17;

// Call f(begin, count) for each block of [0, length).
template <class Function>
INLINE void for_blocks(size_t length, Function f) {
    for (size_t begin = 0; begin < length; begin += block_size)
        f(begin, length - begin < block_size ? length - begin : block_size);
}

// Call f(first block, last block) over parts of a row, each on one thread.
template <class Function>
void for_parts(size_t length, size_t threads, Function f) {
    size_t blocks = (length + block_size - 1) / block_size;
    auto call = [](void *argument, size_t first, size_t last) {
        (*static_cast<Function *>(argument))(first * block_size, last * block_size);
    };
    parallel_for(blocks, threads, call, &f);
}

template <Operation op, class Source, class Sink>
struct RowTask {
    using S = typename Source::Storage;
    using T = compute<S>;
    using Out = typename Sink::Storage;
    static constexpr bool with_low = Source::with_low;

    Source &source;
    Sink &sink;
    size_t length;
    const Context &context;
    T *exponentials = nullptr;  // kept between the sweeps, or null
    Shift<T> shift{};
    Partial<T> total{};

    bool parallel() const { return context.threads > 1 && length >= parallel_length; }

    template <bool skipping>
    Partial<T> sweep(Vector<T> skipped) {
        if (parallel()) return parallel_sweep<skipping>(skipped);
        Partial<T> sum;
        for_blocks(length, [&](size_t begin, size_t count) {
            T *e = exponentials ? exponentials + begin : nullptr;
            Chunk<S> block = source.chunk(begin, count);
            sum = merge(sum, absorb<op, with_low, skipping>(block, e, count, shift, skipped));
        });
        return sum;
    }

    // The same blocks, merged in the same order.
    template <bool skipping>
    Partial<T> parallel_sweep(Vector<T> skipped) {
        size_t blocks = (length + block_size - 1) / block_size;
        auto *parts = static_cast<Partial<T> *>(std::malloc(blocks * sizeof(Partial<T>)));
        for_parts(length, parts ? context.threads : 1, [&](size_t first, size_t last) {
            Source own(source);
            T *none = nullptr;
            for (size_t begin = first; begin < last && begin < length; begin += block_size) {
                size_t count = length - begin < block_size ? length - begin : block_size;
                Chunk<S> block = own.chunk(begin, count);
                parts[begin / block_size] =
                    absorb<op, with_low, skipping>(block, none, count, shift, skipped);
            }
        });
        Partial<T> sum;
        for (size_t b = 0; b < blocks; ++b) sum = merge(sum, parts[b]);
        std::free(parts);
        return sum;
    }

    // Sum at a guess of the maximum, the first element; if the true one is too far above it, again
    // at the true one. False: NaN, an infinite maximum, or nothing but -inf.
    bool measure() {
        Vector<T> guess = finite_or_zero<T>(load_first(source.chunk(0, 1).x, 1));
        for (int attempt = 0; attempt < 2; ++attempt) {
            shift = shift_at<T>(guess);
            total = sweep<false>(guess);
            Vector<T> sum = broadcast(static_cast<T>(total.sum.head));
            if (trusted<T>(broadcast(total.max), guess, sum)[0]) return true;
            guess = broadcast(total.max);
            if (total.max - total.max != 0) return false;
        }
        return false;
    }

    // What the division by the temperature left over at the first maximum.
    T low_of_max() {
        T found = 0;
        bool done = !with_low;
        for_blocks(length, [&](size_t begin, size_t count) {
            if (done) return;
            Chunk<S> block = source.chunk(begin, count);
            for (size_t i = 0; i < count && !done; ++i)
                if constexpr (with_low)
                    if (block.x[i] == total.max) found = block.low[i], done = true;
        });
        return found;
    }

    // log1p(r), r the sum of all other terms relative to the maximum's.
    Pair<double> logarithm(T low) {
        Exponential<T> e = exponential<T, with_low, true>(broadcast(total.max), broadcast(low), shift);
        Vector<double> top = broadcast<double>(e.value[0]), rest = broadcast<double>(e.residual[0]);
        Others<T> others = others_of<T>(spread(total.sum), top, rest);
        if (others.dominated[0]) {
            Sum<T, Vector<double>> sum = spread(sweep<true>(broadcast(total.max)).sum);
            others.head = sum.head, others.rest = sum.tail();
        }
        return log1p_ratio(others.head, others.rest, top, rest);
    }

    static INLINE Sum<float, Vector<double>> spread(Sum<float, double> s) { return {broadcast(s.head)}; }
    static INLINE Sum<double, Vector<double>> spread(Sum<double, double> s) {
        return {broadcast(s.head), broadcast(s.rest)};
    }

    Factor<T> factor() {
        if constexpr (sizeof(T) == 4)
            return factor_of(spread(total.sum), spread(total.sum));
        else
            return factor_of(spread(total.sum));
    }

    // Call f(source block, sink block, begin, count) for each block, and hand it to the sink.
    template <class Function>
    void emit(Function f) {
        auto part = [&](Source &from, Sink &to, size_t first, size_t last) {
            for (size_t begin = first; begin < last && begin < length; begin += block_size) {
                size_t count = length - begin < block_size ? length - begin : block_size;
                f(from, to.chunk(begin), begin, count);
                to.flush(begin, count);
            }
        };
        if (!parallel()) return part(source, sink, 0, length);
        for_parts(length, context.threads, [&](size_t first, size_t last) {
            Source from(source);
            Sink to(sink);
            part(from, to, first, last);
        });
    }

    template <bool careful>
    void write_softmax() {
        const Factor<T> scale = factor();
        auto finish = [&](Vector<T> e) __attribute__((always_inline)) {
            return careful ? times_carefully<T>(e, scale) : times<T>(e, scale);
        };
        emit([&](Source &from, Out *y, size_t begin, size_t count) {
            if (exponentials) {
                const T *e = exponentials + begin;
                for_vectors<T>(count, [&](size_t i, size_t lanes) __attribute__((always_inline)) {
                    store_lanes(y + i, finish(load_lanes(e + i, lanes)), lanes);
                });
                return;
            }
            Chunk<S> block = from.chunk(begin, count);
            for_vectors<T>(count, [&](size_t i, size_t lanes) __attribute__((always_inline)) {
                Vector<T> low{};
                if constexpr (with_low) low = load_lanes(block.low + i, lanes);
                Vector<T> x = load_lanes(block.x + i, lanes);
                store_lanes(y + i, finish(exponential<T, with_low, false>(x, low, shift).value), lanes);
            });
        });
    }

    // The logarithm of the sum.
    Pair<T> normalize() {
        T low = low_of_max();
        Pair<double> log = logarithm(low);
        Vector<double> max = broadcast<double>(total.max), sum = log.head + log.tail;
        if constexpr (sizeof(T) == 4)
            return normalizer(Wide{max, max}, Wide{sum, sum});
        else
            return normalizer(max, {log.head, log.tail + low});
    }

    void write_log_softmax() {
        const Pair<T> norm = normalize();
        emit([&](Source &from, Out *y, size_t begin, size_t count) {
            Chunk<S> block = from.chunk(begin, count);
            for_vectors<T>(count, [&](size_t i, size_t lanes) __attribute__((always_inline)) {
                Vector<T> tail = norm.tail;
                if constexpr (with_low) tail -= load_lanes(block.low + i, lanes);
                store_lanes(y + i, (load_lanes(block.x + i, lanes) - norm.head) - tail, lanes);
            });
        });
    }

    void write_one(T value) {
        store_first(sink.chunk(0), broadcast(value), 1);
        sink.flush(0, 1);
    }

    void write_logsumexp() {
        const Pair<T> norm = normalize();
        write_one(norm.head[0] + norm.tail[0]);
    }

    // No sum to be had: a limit, or no limit. Scalar; such rows are rare.
    void write_degenerate() {
        constexpr T infinity = std::numeric_limits<T>::infinity();
        constexpr T nan = std::numeric_limits<T>::quiet_NaN();
        size_t included = 0, peaks = 0;
        bool has_nan = false;
        each([&](T x, bool in) {
            included += in;
            peaks += in && x == infinity;
            has_nan |= x != x;
        });
        T peak = peaks ? infinity : -infinity;
        if constexpr (op == Operation::logsumexp) return write_one(has_nan ? nan : peak);
        if (!peaks) peaks = included;  // all -inf: all tied
        bool has_limit = peaks == 1 && peak == infinity;
        T share = 1 / static_cast<T>(peaks);
        if (!has_limit && context.undefined == Undefined::zero) share = 0;
        if constexpr (op == Operation::log_softmax)
            share = share == 0 ? -infinity : 0 - static_cast<T>(log(static_cast<double>(peaks)));
        if (has_nan || (!has_limit && context.undefined == Undefined::nan)) share = nan;
        fill(share, [&](T x) { return has_nan || x == peak; });
    }

    static double log(double x) {
        Pair<double> result = log1p(broadcast(x - 1), Vector<double>{});
        return result.head[0] + result.tail[0];
    }

    // Call f(element, whether it takes part) for each.
    template <class Function>
    void each(Function f) {
        for_blocks(length, [&](size_t begin, size_t count) {
            Chunk<S> block = source.chunk(begin, count);
            for (size_t i = 0; i < count; ++i)
                f(load_first(block.x + i, 1)[0], source.included(begin + i));
        });
    }

    // `share` where an element takes part and is chosen; probability 0 elsewhere.
    template <class Function>
    void fill(T share, Function chosen) {
        constexpr T none = op == Operation::softmax ? 0 : -std::numeric_limits<T>::infinity();
        for_blocks(length, [&](size_t begin, size_t count) {
            Chunk<S> block = source.chunk(begin, count);
            Out *y = sink.chunk(begin);
            for (size_t i = 0; i < count; ++i) {
                T x = load_first(block.x + i, 1)[0];
                T value = source.included(begin + i) && chosen(x) ? share : none;
                store_first(y + i, broadcast(value), 1);
            }
            sink.flush(begin, count);
        });
    }

    void run() {
        if (length == 0) {
            if constexpr (op == Operation::logsumexp) write_one(-std::numeric_limits<T>::infinity());
            return;
        }
        if (!measure()) return write_degenerate();
        if constexpr (op == Operation::softmax) {
            bool careful = !(total.max - total.min <= Limits<T>::spread);
            careful ? write_softmax<true>() : write_softmax<false>();
        } else if constexpr (op == Operation::log_softmax) {
            write_log_softmax();
        } else {
            write_logsumexp();
        }
    }
};

// ---------------------------------------------------------------------------------------------
// What the table offers

template <Operation op, class S>
void rows(const char *x, ptrdiff_t x_stride, char *y, ptrdiff_t y_stride, size_t count, size_t length,
          const Context &context) {
    using T = compute<S>;
    for (size_t r = 0; r < count; ++r, x += x_stride, y += y_stride) {
        DirectSource<S> source{reinterpret_cast<const S *>(x)};
        DirectSink<S> sink{reinterpret_cast<S *>(y)};
        RowTask<op, DirectSource<S>, DirectSink<S>> task{source, sink, length, context};
        if (op == Operation::softmax && length <= cached) {
            // In place the exponentials must not take x's room: it may have to be read again.
            bool own_room = sizeof(S) == sizeof(T) && x != y;
            task.exponentials = static_cast<T *>(own_room ? static_cast<void *>(y) : context.exponentials);
        }
        task.run();
    }
}

template <Operation op, class S, class T>
void staged_row(const Row &row, const Context &context) {
    StagedSource<T> source(row, gather<S, T>);
    StagedSink<T> sink(row, scatter<S, T>);
    RowTask<op, StagedSource<T>, StagedSink<T>> task{source, sink, row.length, context};
    if (op == Operation::softmax && row.length <= cached)
        task.exponentials = static_cast<T *>(context.exponentials);
    task.run();
}

template <Operation op, class S>
void row(const Row &row, const Context &context) {
    // A quotient by the temperature needs more than float32: 50 / 0.7 rounds to 2^-19.
    if (row.temperature == 1)
        staged_row<op, S, compute<S>>(row, context);
    else
        staged_row<op, S, double>(row, context);
}

template <class S>
bool is_undefined(const Row &row) {
    using T = compute<S>;
    StagedSource<T> source(row, gather<S, T>);
    size_t included = 0, infinite = 0, nothing = 0;
    bool has_nan = false;
    for_blocks(row.length, [&](size_t begin, size_t count) {
        const T *x = source.chunk(begin, count).x;
        for (size_t i = 0; i < count; ++i) {
            if (!source.included(begin + i)) continue;
            ++included;
            infinite += x[i] == std::numeric_limits<T>::infinity();
            nothing += x[i] == -std::numeric_limits<T>::infinity();
            has_nan |= x[i] != x[i];
        }
    });
    return !has_nan && (infinite > 1 || (included > 0 && nothing == included));
}

}  // namespace stablesoftmax::LEVEL
