// Rows: lanes along the axis.
//
// A row is read in blocks from a Source and written in blocks to a Sink (staging.hpp). The
// arithmetic in between is one text.
#pragma once

#include <cstdlib>

#include "parallel.hpp"
#include "results.hpp"
#include "staging.hpp"

namespace stablesoftmax::LEVEL {

// ---------------------------------------------------------------------------------------------
// One block

// A term of the sum, unrounded: in [1.5, -2.7] one term is most of the sum, and its rounding would be
// every result's error. The logarithms take the maximum's term out again, and have its tail small.
template <Operation op, class T>
INLINE Pair<T> term(Pair<T> e) {
    if constexpr (op == Operation::softmax) return e;
    Vector<T> value = e.head + e.tail;
    return {value, (e.head - value) + e.tail};
}

// Sum the exponentials of a block. For softmax they go to `kept` if it is given. With `skipping`,
// elements equal to `skipped` are left out.
template <Operation op, bool with_low, bool skipping, bool plain, class S, class T = compute<S>>
INLINE Partial<op, T> absorb(Chunk<S> block, T *kept, size_t count, Shift<T> shift, Vector<T> skipped) {
    constexpr size_t part = stretch * Lanes<T>::count;
    const Exponential<T, plain> exponential(shift);
    Accumulator<T> sum;
    Vector<T> extreme = Extreme<op>::template none<T>();
    auto add = [&](size_t i, size_t lanes) __attribute__((always_inline)) {
        expect_read(block.x + i);
        Vector<T> x = load_lanes(block.x + i, lanes);
        Vector<T> low{};
        if constexpr (with_low) low = load_lanes(block.low + i, lanes);
        extreme = Extreme<op>::of(x, extreme);
        Pair<T> e = exponential.template pair<with_low>(x, low);
        if (lanes < Lanes<T>::count) e = {first_lanes<T>(e.head, lanes), first_lanes<T>(e.tail, lanes)};
        if constexpr (skipping) e = {x == skipped ? Vector<T>{} : e.head, x == skipped ? Vector<T>{} : e.tail};
        if (op == Operation::softmax && kept) {
            expect_write(kept + i);
            store_lanes(kept + i, e.head + e.tail, lanes);
        }
        sum.add(term<op, T>(e));
    };
    for (size_t begin = 0; begin < count; begin += part) {
        size_t now = count - begin < part ? count - begin : part;
        for_vectors<T>(now, [&](size_t i, size_t lanes) __attribute__((always_inline)) { add(begin + i, lanes); });
        sum.settle();
    }
    return {Extreme<op>::template along<T>(extreme), sum.along()};
}

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
    Vector<T> guess{};
    Shift<T> shift{};
    Partial<op, T> total{};

    bool parallel() const { return context.threads > 1 && length >= parallel_length; }

    template <bool skipping>
    Partial<op, T> sweep(Vector<T> skipped) {
        return parallel() ? parallel_sweep<skipping>(skipped) : serial_sweep<skipping>(skipped);
    }

    template <bool skipping>
    Partial<op, T> serial_sweep(Vector<T> skipped) {
        Partial<op, T> sum;
        for_blocks(length, [&](size_t begin, size_t count) {
            T *e = exponentials ? exponentials + begin : nullptr;
            sum = merge(sum, absorb_chunk<skipping>(source.chunk(begin, count), e, count, skipped));
        });
        return sum;
    }

    template <bool skipping>
    INLINE Partial<op, T> absorb_chunk(Chunk<S> block, T *e, size_t count, Vector<T> skipped) const {
        constexpr size_t worth_it = 8 * Lanes<T>::count;  // to make the tables ready
        if (count >= worth_it && Exponential<T, true>::is_plain(shift))
            return absorb<op, with_low, skipping, true>(block, e, count, shift, skipped);
        return absorb<op, with_low, skipping, false>(block, e, count, shift, skipped);
    }

    // The same blocks, merged in the same order.
    template <bool skipping>
    Partial<op, T> parallel_sweep(Vector<T> skipped) {
        size_t blocks = (length + block_size - 1) / block_size;
        using Part = Partial<op, T>;
        auto *parts = static_cast<Part *>(std::aligned_alloc(alignof(Part), blocks * sizeof(Part)));
        if (!parts) return serial_sweep<skipping>(skipped);
        for_parts(length, context.threads, [&](size_t first, size_t last) {
            Source own(source);
            T *none = nullptr;
            for (size_t begin = first; begin < last && begin < length; begin += block_size) {
                size_t count = length - begin < block_size ? length - begin : block_size;
                parts[begin / block_size] =
                    absorb_chunk<skipping>(own.chunk(begin, count), none, count, skipped);
            }
        });
        Part sum;
        for (size_t b = 0; b < blocks; ++b) sum = merge(sum, parts[b]);
        std::free(parts);
        return sum;
    }

    // Sum at a guess of the maximum: the first element, which it cannot be below. If the true one is
    // too far above, again at the true one. False: NaN, an infinite maximum, nothing but -inf.
    bool measure() {
        if (parallel()) exponentials = nullptr;  // such a row is computed twice
        guess = finite_or_zero<T>(broadcast(first_lane(load_first(source.chunk(0, 1).x, 1))));
        if (measure_at_guess()) return true;
        guess = finite_or_zero<T>(broadcast(maximum_of_row()));
        return measure_at_guess();
    }

    bool measure_at_guess() {
        shift = shift_at<T>(guess);
        total = sweep<false>(guess);
        return trusted<T>(rounded(total.sum))[0];
    }

    static INLINE T first_lane(Vector<T> v) { return v[0]; }

    __attribute__((noinline, cold)) T maximum_of_row() {
        Vector<T> max = broadcast(-std::numeric_limits<T>::infinity());
        for_blocks(length, [&](size_t begin, size_t count) {
            Chunk<S> block = source.chunk(begin, count);
            for_vectors<T>(count, [&](size_t i, size_t lanes) { max = maximum(load_lanes(block.x + i, lanes), max); });
        });
        return Extreme<Operation::logsumexp>::along<T>(max)[0];
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
                    if (block.x[i] == total.extreme[0]) found = block.low[i], done = true;
        });
        return found;
    }

    // The maximum's term, top + rest, and the sum of all the others.
    struct Terms {
        Others<T> others;
        Vector<double> top, rest;
    };

    Terms terms(T low) {
        Pair<T> e = Exponential<T, false>(shift).template pair<with_low>(total.extreme, broadcast(low));
        Pair<T> own = term<op, T>(e);
        Vector<double> top = low_half(own.head), rest = low_half(own.tail);
        Others<T> others = others_of<T>(total.sum, top, rest);
        if (others.dominated[0]) {
            shift.exponent -= Limits<T>::others_guard;
            others = lowered<T>(sweep<true>(total.extreme).sum);
            shift.exponent += Limits<T>::others_guard;
        }
        return {others, top, rest};
    }

    // log1p(r), r the sum of all other terms relative to the maximum's.
    static Pair<double> logarithm(const Terms &terms) {
        return log1p_ratio(terms.others.head, terms.others.rest, terms.top, terms.rest);
    }

    Factor<T> factor() {
        if constexpr (sizeof(T) == 4)
            return factor_of(total.sum, total.sum);
        else
            return factor_of(total.sum);
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
        auto finish = [scale](Vector<T> e) __attribute__((always_inline)) {
            return careful ? times_carefully<T>(e, scale) : times<T>(e, scale);
        };
        emit([&](Source &from, Out *y, size_t begin, size_t count) {
            if (exponentials) {
                const T *e = exponentials + begin;
                for_aligned_vectors<T>(y, count, [=](size_t i, size_t lanes) __attribute__((always_inline)) {
                    store_lanes(y + i, finish(load_lanes(e + i, lanes)), lanes);
                });
                return;
            }
            Chunk<S> block = from.chunk(begin, count);
            const Exponential<T, false> exponential(shift);
            for_aligned_vectors<T>(y, count, [&](size_t i, size_t lanes) __attribute__((always_inline)) {
                Vector<T> low{};
                if constexpr (with_low) low = load_lanes(block.low + i, lanes);
                expect_read(block.x + i);
                Vector<T> e = exponential.template value<with_low>(load_lanes(block.x + i, lanes), low);
                expect_write(y + i);
                store_lanes(y + i, finish(e), lanes);
            });
        });
    }

    // The logarithm of the sum; with a low part, maximum and log1p(r) apart: [1.32, 1.4] / 1e-3 leaves
    // 1e-13 in the low parts, and 1.8e-35 in the logarithm.
    Pair<T> normalize(T low) {
        Pair<double> log = logarithm(terms(low));
        Vector<double> max = low_half(total.extreme), sum = log.head + log.tail;
        if constexpr (with_low)
            return {max, sum};
        else if constexpr (sizeof(T) == 4)
            return normalizer(Wide{max, max}, Wide{sum, sum});
        else
            return normalizer(max, log);
    }

    void write_log_softmax() {
        const T low_max = low_of_max();
        const Pair<T> norm = normalize(low_max);
        emit([&](Source &from, Out *y, size_t begin, size_t count) {
            Chunk<S> block = from.chunk(begin, count);
            for_aligned_vectors<T>(y, count, [&](size_t i, size_t lanes) __attribute__((always_inline)) {
                Vector<T> d = load_lanes(block.x + i, lanes) - norm.head;
                if constexpr (with_low) d += load_lanes(block.low + i, lanes) - low_max;
                expect_write(y + i);
                store_lanes(y + i, d - norm.tail, lanes);
            });
        });
    }

    void write_one(T value) {
        store_first(sink.chunk(0), broadcast(value), 1);
        sink.flush(0, 1);
    }

    void write_logsumexp() {
        const Pair<T> norm = normalize(low_of_max());
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

    void write_empty() {
        if constexpr (op == Operation::logsumexp) write_one(-std::numeric_limits<T>::infinity());
    }

    // After measure(), with what it returned.
    void write(bool measured) {
        if (!measured) return write_degenerate();
        if constexpr (op == Operation::softmax) {
            bool plain = (total.extreme >= lowest_normal<T>(guess, rounded(total.sum)))[0];
            plain ? write_softmax<false>() : write_softmax<true>();
        } else if constexpr (op == Operation::log_softmax) {
            write_log_softmax();
        } else {
            write_logsumexp();
        }
    }
};

// ---------------------------------------------------------------------------------------------
// What the table offers

// A row's task with the ends that it refers to.
template <Operation op, class S>
struct DirectRow {
    using T = compute<S>;
    DirectSource<S> source;
    DirectSink<S> sink;
    RowTask<op, DirectSource<S>, DirectSink<S>> task;
    bool measured = false;

    INLINE DirectRow(const char *x, char *y, size_t length, const Context &context, T *exponentials)
        : source{reinterpret_cast<const S *>(x)}, sink{reinterpret_cast<S *>(y)},
          task{source, sink, length, context} {
        // In y if they fit: its lines come in while the sums are computed, not after. Not in place:
        // x may have to be read again.
        bool own_room = sizeof(S) == sizeof(T) && x != y;
        if (op == Operation::softmax && length * sizeof(T) <= cached_bytes)
            task.exponentials = own_room ? reinterpret_cast<T *>(y) : exponentials;
        measured = task.measure();
    }
};

// Short rows two at a time: the second is summed while the first one's reciprocal or logarithm, a
// chain of a hundred cycles, comes to its end.
template <Operation op, class S>
void rows(const char *x, ptrdiff_t x_stride, char *y, ptrdiff_t y_stride, size_t count, size_t length,
          const Context &context) {
    using T = compute<S>;
    if (length == 0) {
        for (size_t r = 0; r < count; ++r, y += y_stride) {
            DirectSource<S> source{nullptr};
            DirectSink<S> sink{reinterpret_cast<S *>(y)};
            RowTask<op, DirectSource<S>, DirectSink<S>>{source, sink, length, context}.write_empty();
        }
        return;
    }
    T *room = static_cast<T *>(context.exponentials);
    size_t r = 0;
    if (length <= block_size) {
        T *second_room = room ? room + block_size : nullptr;
        for (; r + 2 <= count; r += 2, x += 2 * x_stride, y += 2 * y_stride) {
            DirectRow<op, S> first(x, y, length, context, room);
            DirectRow<op, S> second(x + x_stride, y + y_stride, length, context, second_room);
            first.task.write(first.measured);
            second.task.write(second.measured);
        }
    }
    for (; r < count; ++r, x += x_stride, y += y_stride) {
        DirectRow<op, S> row(x, y, length, context, room);
        row.task.write(row.measured);
    }
}

template <Operation op, class S, class T, bool tempered>
void staged_row(const Row &row, const Context &context) {
    using Source = StagedSource<T, tempered>;
    Source source(row, gather<S, T>);
    StagedSink<T> sink(row, scatter<S, T>);
    RowTask<op, Source, StagedSink<T>> task{source, sink, row.length, context};
    if (op == Operation::softmax && row.length * sizeof(T) <= cached_bytes)
        task.exponentials = static_cast<T *>(context.exponentials);
    row.length ? task.write(task.measure()) : task.write_empty();
}

template <Operation op, class S>
void row(const Row &row, const Context &context) {
    // A quotient by the temperature needs more than float32: 50 / 0.7 rounds to 2^-19.
    if (row.temperature == 1)
        staged_row<op, S, compute<S>, false>(row, context);
    else
        staged_row<op, S, double, true>(row, context);
}

template <class S>
bool is_undefined(const Row &row) {
    using T = compute<S>;
    StagedSource<T, false> source(row, gather<S, T>);
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
