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

// A term as it is summed, unrounded: in [1.5, -2.7] one term is most of the sum, and its rounding would
// be every result's error. The logarithms take the maximum's term out again, and have its rest small.
template <Operation op, class T>
INLINE auto summand(Term<T> e) {
    if constexpr (op == Operation::softmax)
        return e;
    else
        return rounded(e);
}

template <Operation op, bool coarse, class T>
INLINE void add(Accumulator<T> &sum, Term<T> e) {
    if constexpr (coarse)
        sum.add_coarse(e.value());
    else
        sum.add(summand<op, T>(e));
}

// The term of one element, as the logarithms sum it.
template <bool coarse, bool with_low, class T>
INLINE Rounded<T> rounded_term(Shift<T> shift, Vector<T> x, Vector<T> low) {
    Term<T> e = Exponential<T, false, coarse>(shift).template term<with_low>(x, low);
    return coarse ? Rounded<T>{e.value(), Vector<T>{}} : rounded(e);
}

// What a sweep over a block does besides summing. For softmax the exponentials go to `kept` if it is
// given. `ahead` is where the results will be written soon, or null: asked for now, its lines come in
// while there is something else to do (log_softmax of (4096, 1024): 1.2 times as fast).
template <class T, class Out>
struct Aside {
    T *kept;
    Out *ahead;
};

// Sum the exponentials of a block. With `skipping`, elements equal to `skipped` are left out, and so are
// those that are as good as nothing: of [0, -inf] nothing at all is left.
template <Operation op, bool with_low, bool skipping, bool plain, bool coarse, class S, class Out, class T = compute<S>>
INLINE Partial<op, T> absorb(Chunk<S> block, Aside<T, Out> aside, size_t count, Shift<T> shift, Vector<T> skipped) {
    T *const kept = aside.kept;
    Out *const ahead = aside.ahead;
    constexpr size_t part = stretch * Lanes<T>::count;
    const Exponential<T, plain, coarse> exponential(shift);
    Accumulator<T> sum;
    Vector<T> extreme = Extreme<op>::template none<T>();
    auto absorb_vector = [&](size_t i, size_t lanes) __attribute__((always_inline)) {
        expect_read(block.x + i);
        Vector<T> x = load_lanes(block.x + i, lanes);
        Vector<T> low{};
        if constexpr (with_low) low = load_lanes(block.low + i, lanes);
        extreme = Extreme<op>::of(x, extreme);
        Term<T> e = exponential.template term<with_low>(x, low);
        if (lanes < Lanes<T>::count) e = {first_lanes<T>(e.head, lanes), first_lanes<T>(e.rest, lanes)};
        if constexpr (skipping) e = without<T>(e, (x == skipped) | exponential.is_nothing(x));
        if (op == Operation::softmax && kept) {
            expect_write(kept + i);
            store_lanes(kept + i, e.value(), lanes);
        }
        if (op != Operation::logsumexp && ahead) expect_write(ahead + i, 0);
        add<op, coarse, T>(sum, e);
    };
    for (size_t begin = 0; begin < count; begin += part) {
        size_t now = count - begin < part ? count - begin : part;
        for_vectors<T>(now, [&](size_t i, size_t lanes)
                                __attribute__((always_inline)) { absorb_vector(begin + i, lanes); });
        sum.settle();
        if (!skipping && sum.is_beyond()) break;  // or NaN: it stays so
    }
    return {Extreme<op>::template along<T>(extreme), sum.along()};
}

// ---------------------------------------------------------------------------------------------
// One row

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

// `coarse`: the results are of 16 bits.
template <Operation op, class Source, class Sink, bool coarse>
struct RowTask {
    using S = typename Source::Storage;
    using T = compute<S>;
    using Out = typename Sink::Storage;
    static constexpr bool with_low = Source::with_low;

    // Not initialized one and all: that would cost a row of ten elements as much as its sum.
    Source *source;
    Sink *sink;
    size_t length;
    const Context *context;
    T *exponentials;  // kept between the sweeps, or null
    Out *ahead;       // the results' place, to be asked for early, or null
    Vector<T> guess;
    Shift<T> shift;
    Partial<op, T> total;
    bool measured;   // `total` can be trusted
    bool left_out;   // it is the sum of all but the maximum's term, `others_guard` binades higher
    T low_of_max;    // what the division by the temperature left over at the first maximum
    Factor<T> factor;  // of softmax
    Pair<T> norm;      // of the logarithms

    void set(Source &from, Sink &to, size_t elements, const Context &shared, T *kept, Out *soon) {
        source = &from, sink = &to, length = elements, context = &shared, exponentials = kept, ahead = soon;
    }

    bool parallel() const { return context->threads > 1 && length >= parallel_length; }

    template <bool skipping>
    Partial<op, T> sweep(Vector<T> skipped) {
        return parallel() ? parallel_sweep<skipping>(skipped) : serial_sweep<skipping>(skipped);
    }

    template <bool skipping>
    Partial<op, T> serial_sweep(Vector<T> skipped) {
        Partial<op, T> sum = nothing<op, T>();
        for (size_t begin = 0; begin < length; begin += block_size) {
            const size_t count = length - begin < block_size ? length - begin : block_size;
            const Aside<T, Out> aside{exponentials ? exponentials + begin : nullptr, ahead ? ahead + begin : nullptr};
            sum = merge(sum, absorb_chunk<skipping>(source->chunk(begin, count), aside, count, skipped));
            // Beyond the ceiling, or NaN, it stays: an ascending row shows that its guess fails at once.
            if (!skipping && !(rounded(sum.sum)[0] < static_cast<T>(Limits<T>::ceiling))) break;
        }
        return sum;
    }

    template <bool skipping>
    INLINE Partial<op, T> absorb_chunk(Chunk<S> block, Aside<T, Out> aside, size_t count, Vector<T> skipped) const {
        constexpr size_t worth_it = 8 * Lanes<T>::count;  // to make the tables ready
        if (count >= worth_it && Exponential<T, true, coarse>::is_plain(shift))
            return absorb<op, with_low, skipping, true, coarse>(block, aside, count, shift, skipped);
        return absorb<op, with_low, skipping, false, coarse>(block, aside, count, shift, skipped);
    }

    // The same blocks, merged in the same order.
    template <bool skipping>
    Partial<op, T> parallel_sweep(Vector<T> skipped) {
        size_t blocks = (length + block_size - 1) / block_size;
        using Part = Partial<op, T>;
        auto *parts = static_cast<Part *>(std::aligned_alloc(alignof(Part), blocks * sizeof(Part)));
        if (!parts) return serial_sweep<skipping>(skipped);
        for_parts(length, context->threads, [&](size_t first, size_t last) {
            Source own(*source);
            const Aside<T, Out> none{nullptr, nullptr};
            for (size_t begin = first; begin < last && begin < length; begin += block_size) {
                size_t count = length - begin < block_size ? length - begin : block_size;
                parts[begin / block_size] =
                    absorb_chunk<skipping>(own.chunk(begin, count), none, count, skipped);
            }
        });
        Part sum = nothing<op, T>();
        for (size_t b = 0; b < blocks; ++b) sum = merge(sum, parts[b]);
        std::free(parts);
        return sum;
    }

    // Sum at a guess of the maximum, which it cannot be below. If the true one is too far above, again at
    // the true one; for the logarithms without its own term, which they take out
    // again: unless others are equal to it, or the caller wants the `whole` sum. Not measured: NaN, an
    // infinite maximum, nothing but -inf.
    void measure(bool whole = false) {
        if (parallel()) exponentials = nullptr;  // such a row is computed twice
        auto element = [&](size_t i) { return broadcast(load_first(source->chunk(i, 1).x, 1)[0]); };
        measure_at(guess_of<T>(element(0), element(length / 2), element(length - 1))[0]);
        if (measured) return;
        const Top top = top_of_row();
        if (top.has_nan || top.value - top.value != 0) return;
        op == Operation::softmax || whole || top.count > 1 ? measure_at(top.value) : measure_without(top.value);
    }

    void measure_at(T maximum) {
        guess = finite_or_zero<T>(broadcast(maximum));
        shift = shift_at<T>(guess);
        total = sweep<false>(guess);
        measured = trusted<T>(rounded(total.sum))[0];
        left_out = false;
    }

    void measure_without(T maximum) {
        guess = broadcast(maximum);
        shift = shift_at<T>(guess);
        total = {guess, sum_without(guess)};
        measured = left_out = true;
    }

    Sum<T, Vector<double>> sum_without(Vector<T> maximum) {
        shift.exponent -= Limits<T>::others_guard;
        const Partial<op, T> others = sweep<true>(maximum);
        shift.exponent += Limits<T>::others_guard;
        return others.sum;
    }

    struct Top {
        T value;
        size_t count;  // of the elements that are equal to it
        bool has_nan;
    };

    __attribute__((noinline, cold)) Top top_of_row() {
        constexpr T nothing = -std::numeric_limits<T>::infinity();
        Vector<T> max = broadcast(nothing);
        Bits<T> nan{}, count{};
        for_blocks(length, [&](size_t begin, size_t elements) {
            Chunk<S> block = source->chunk(begin, elements);
            for_vectors<T>(elements, [&](size_t i, size_t lanes) __attribute__((always_inline)) {
                Vector<T> x = load_lanes(block.x + i, lanes);
                if (lanes < Lanes<T>::count) x = first_lanes<T>(x, lanes, nothing);
                count = (x > max ? Bits<T>{} : count) - (x >= max);  // true is -1
                max = maximum(x, max);
                nan |= x != x;
            });
        });
        Top top{Extreme<Operation::logsumexp>::along<T>(max)[0], 0, any(nan)};
        for (size_t j = 0; j < Lanes<T>::count; ++j)
            if (max[j] == top.value) top.count += static_cast<size_t>(count[j]);
        return top;
    }

    // The elements that are not -inf, if all of them are equal: each has the same share, which no sum of rounded
    // exponentials gives. Of most rows their minimum or their sum tells that they are not.
    struct Equal {
        T value = 0;
        size_t count = 0;  // 0: they are not
    };

    Equal equal_elements() {
        constexpr T nothing = -std::numeric_limits<T>::infinity();
        if (total.extreme[0] != nothing) {
            if (total.extreme[0] != guess[0]) return {};
            const T own = Exponential<T, false, coarse>(shift).template value<false>(guess, Vector<T>{})[0];
            if (!(rounded(total.sum)[0] <= own * static_cast<T>(length) * static_cast<T>(nearly_equal))) return {};
        }
        return counted_equal();
    }

    __attribute__((noinline)) Equal counted_equal() {
        constexpr T nothing = -std::numeric_limits<T>::infinity();
        Equal equal{nothing, 0};
        T low = 0;
        for (size_t begin = 0; begin < length; begin += block_size) {
            const size_t count = length - begin < block_size ? length - begin : block_size;
            Chunk<S> block = source->chunk(begin, count);
            Bits<T> other{}, matches{};
            auto compare = [&](size_t i, size_t lanes) __attribute__((always_inline)) {
                Vector<T> x = load_lanes(block.x + i, lanes);
                if (lanes < Lanes<T>::count) x = first_lanes<T>(x, lanes, nothing);
                if (equal.value == nothing)
                    for (size_t j = 0; j < lanes && equal.value == nothing; ++j)
                        if (x[j] != nothing) {
                            equal.value = x[j];
                            if constexpr (with_low) low = block.low[i + j];
                        }
                if (equal.value == nothing) return;
                matches -= x == equal.value;  // true is -1
                other |= (x != equal.value) & (x != nothing);
                if constexpr (with_low) other |= (x == equal.value) & (load(block.low + i) != low);
            };
            bool differs = false;
            for_vectors<T>(count, [&](size_t i, size_t lanes) {
                if (differs) return;
                compare(i, lanes);
                differs = any(other);
            });
            if (differs) return {};
            for (size_t j = 0; j < Lanes<T>::count; ++j) equal.count += static_cast<size_t>(matches[j]);
        }
        return equal;
    }

    void find_low_of_max() {
        low_of_max = 0;
        bool done = !with_low;
        for_blocks(length, [&](size_t begin, size_t count) {
            if (done) return;
            Chunk<S> block = source->chunk(begin, count);
            for (size_t i = 0; i < count && !done; ++i)
                if constexpr (with_low)
                    if (block.x[i] == total.extreme[0]) low_of_max = block.low[i], done = true;
        });
    }

    // The sum of all other terms, and the maximum's.
    Ratio ratio() {
        const Rounded<T> own = rounded_term<coarse, with_low, T>(shift, total.extreme, broadcast(low_of_max));
        const Vector<double> top = low_half(own.head), rest = low_half(own.rest);
        Others<T> others = left_out ? lowered<T>(total.sum) : others_of<coarse, T>(total.sum, top, rest);
        if (!left_out && others.dominated[0]) others = lowered<T>(sum_without(total.extreme));
        return {others.head[0], others.rest[0], top[0], rest[0]};
    }

    // The logarithm of the sum; with a low part, maximum and log1p(r) apart: [1.32, 1.4] / 1e-3 leaves
    // 1e-13 in the low parts, and 1.8e-35 in the logarithm.
    void normalize(double log_head, double log_tail) {
        const Pair<double> log{broadcast(log_head), broadcast(log_tail)};
        const Vector<double> max = low_half(total.extreme), sum = log.head + log.tail;
        if constexpr (with_low)
            norm = {max, sum};
        else if constexpr (sizeof(T) == 4)
            norm = normalizer(Wide{max, max}, Wide{sum, sum});
        else
            norm = normalizer(max, log);
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
        if (!parallel()) return part(*source, *sink, 0, length);
        for_parts(length, context->threads, [&](size_t first, size_t last) {
            Source from(*source);
            Sink to(*sink);
            part(from, to, first, last);
        });
    }

    template <bool careful>
    void write_softmax() {
        const Factor<T> scale = careful ? factor : complete(factor);
        auto finish = [scale](Vector<T> e) __attribute__((always_inline)) {
            return careful ? times_carefully<coarse, T>(e, scale) : product<coarse, T>(e, scale);
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
            const Exponential<T, false, coarse> exponential(shift);
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

    void write_log_softmax() {
        const Pair<T> norm = this->norm;
        emit([&, norm](Source &from, Out *y, size_t begin, size_t count) {
            Chunk<S> block = from.chunk(begin, count);
            for_aligned_vectors<T>(y, count, [&](size_t i, size_t lanes) __attribute__((always_inline)) {
                Vector<T> d = load_lanes(block.x + i, lanes) - norm.head;
                if constexpr (with_low) d += load_lanes(block.low + i, lanes) - low_of_max;
                expect_write(y + i);
                store_lanes(y + i, d - norm.tail, lanes);
            });
        });
    }

    void write_one(T value) {
        store_first(sink->chunk(0), broadcast(value), 1);
        sink->flush(0, 1);
    }

    void write_logsumexp() {
        write_one(norm.head[0] + norm.tail[0]);
    }

    // Call f(element, whether it takes part) for each.
    template <class Function>
    void each(Function f) {
        for_blocks(length, [&](size_t begin, size_t count) {
            Chunk<S> block = source->chunk(begin, count);
            for (size_t i = 0; i < count; ++i)
                f(load_first(block.x + i, 1)[0], source->included(begin + i));
        });
    }

    Census census() {
        constexpr T infinity = std::numeric_limits<T>::infinity();
        Census row{length, 0, false};
        for_blocks(length, [&](size_t begin, size_t count) {
            Chunk<S> block = source->chunk(begin, count);  // what is left out is -inf there
            for_vectors<T>(count, [&](size_t i, size_t lanes) {
                const Vector<T> x = load_lanes(block.x + i, lanes);
                row.has_nan |= any(x != x);
                if (!any(x == infinity)) return;
                for (size_t j = 0; j < lanes; ++j) row.peaks += x[j] == infinity;
            });
            if (source->is_masked())
                for (size_t i = 0; i < count; ++i) row.included -= !source->included(begin + i);
        });
        return row;
    }

    // No sum to be had: a limit, or no limit.
    void write_degenerate() {
        constexpr T infinity = std::numeric_limits<T>::infinity();
        constexpr T nan = std::numeric_limits<T>::quiet_NaN();
        const Census row = census();
        if constexpr (op == Operation::logsumexp) return write_one(row.has_nan ? nan : row.peaks ? infinity : -infinity);
        fill(tie_of<op, T>(row, context->undefined), row.has_nan);
    }

    void fill(Tie<T> tie, bool has_nan) {
        constexpr T none = op == Operation::softmax ? 0 : -std::numeric_limits<T>::infinity();
        for_blocks(length, [&](size_t begin, size_t count) {
            Chunk<S> block = source->chunk(begin, count);
            Out *y = sink->chunk(begin);
            for_vectors<T>(count, [&](size_t i, size_t lanes) {
                const Vector<T> x = load_lanes(block.x + i, lanes);
                Bits<T> chosen = x == tie.peak;
                if (has_nan) chosen = ~Bits<T>{};
                store_lanes(y + i, chosen ? broadcast(tie.share) : broadcast(none), lanes);
            });
            if (source->is_masked())
                for (size_t i = 0; i < count; ++i)
                    if (!source->included(begin + i)) store_first(y + i, broadcast(none), 1);
            sink->flush(begin, count);
        });
    }

    // After measure() and finish().
    void write() {
        if (!measured) return write_degenerate();
        if constexpr (op == Operation::softmax) {
            if (const Equal equal = equal_elements(); equal.count > 0)
                return fill({equal.value, equal_share<T>(equal.count)}, false);
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
// Several rows

// Rows that are finished together, one a lane: a reciprocal or a logarithm costs as much for one.
constexpr size_t together = Lanes<double>::count < 4 ? Lanes<double>::count : 4;

// A number of each row, in lanes.
struct PerRow {
    alignas(vector_bytes) double value[Lanes<double>::count];
    INLINE explicit PerRow(Vector<double> v = broadcast(1.0)) { store(value, v); }
    INLINE double &operator[](size_t r) { return value[r]; }
    // Of one row, without a wait for the narrow stores before a wide load.
    INLINE Vector<double> lanes(size_t count) const { return count == 1 ? broadcast(value[0]) : load(value); }
};

template <class Task>
INLINE void finish_softmax(Task *tasks, size_t count) {
    using T = typename Task::T;
    PerRow sum, sum_rest(Vector<double>{});
    for (size_t r = 0; r < count; ++r) {
        if (!tasks[r].measured) continue;
        sum[r] = tasks[r].total.sum.head[0];
        sum_rest[r] = tasks[r].total.sum.tail()[0];
    }
    const Reciprocal all = reciprocal(Sum<T, Vector<double>>::of(sum.lanes(count), sum_rest.lanes(count)));
    PerRow head(all.head), tail(all.tail), down(all.down);
    for (size_t r = 0; r < count; ++r)
        tasks[r].factor = {broadcast(static_cast<T>(head[r])), broadcast(static_cast<T>(tail[r])),
                           broadcast(static_cast<T>(down[r]))};
}

template <class Task>
INLINE void finish_logarithms(Task *tasks, size_t count) {
    PerRow others, others_rest, top, top_rest;
    for (size_t r = 0; r < count; ++r) {
        if (!tasks[r].measured) continue;
        tasks[r].find_low_of_max();
        const Ratio one = tasks[r].ratio();
        others[r] = one.others, others_rest[r] = one.others_rest;
        top[r] = one.top, top_rest[r] = one.top_rest;
    }
    const Pair<double> log = log1p_ratio(others.lanes(count), others_rest.lanes(count), top.lanes(count), top_rest.lanes(count));
    PerRow head(log.head), tail(log.tail);
    for (size_t r = 0; r < count; ++r) tasks[r].normalize(head[r], tail[r]);
}

// From sums to what the results are made with; then the results.
template <Operation op, class Task>
INLINE void finish(Task *tasks, size_t count) {
    if constexpr (op == Operation::softmax)
        finish_softmax(tasks, count);
    else
        finish_logarithms(tasks, count);
    for (size_t r = 0; r < count; ++r) tasks[r].write();
}

// ---------------------------------------------------------------------------------------------
// What the table offers

// `count` rows of nothing, whose x may not be read.
template <Operation op, class S>
void write_empty(char *y, ptrdiff_t y_stride, size_t count) {
    if constexpr (op == Operation::logsumexp)
        for (size_t r = 0; r < count; ++r, y += y_stride)
            store_first(reinterpret_cast<S *>(y), broadcast(-std::numeric_limits<compute<S>>::infinity()), 1);
}

// A row in memory, contiguous at both ends.
template <class S>
struct Span {
    const S *x;
    S *y;
    size_t length;
};

// The rows span(0), span(1), ...: short ones several at a time; the exponentials of those that keep them
// elsewhere than in y share the room.
template <Operation op, class S, class SpanOf>
INLINE void each_span(size_t count, SpanOf span, const Context &context) {
    using T = compute<S>;
    using Task = RowTask<op, DirectSource<S>, DirectSink<S>, sizeof(S) == 2>;
    DirectSource<S> sources[together];
    DirectSink<S> sinks[together];
    Task tasks[together];
    size_t waiting = 0;
    T *room = static_cast<T *>(context.exponentials);
    for (size_t r = 0; r < count; ++r) {
        const Span<S> row = span(r);
        if (row.length == 0) {
            write_empty<op, S>(reinterpret_cast<char *>(row.y), 0, 1);
            continue;
        }
        const bool is_short = row.length <= block_size;
        if (waiting == together || (waiting > 0 && !is_short)) finish<op>(tasks, waiting), waiting = 0;
        sources[waiting] = {row.x}, sinks[waiting] = {row.y};
        // Exponentials are kept in y if they fit. Not in place: x may have to be read again.
        const bool own_room = op == Operation::softmax && sizeof(S) == sizeof(T) && row.x != row.y;
        const size_t room_bytes = own_room ? 2 * cached_bytes : cached_bytes;  // or x is in the way, too
        const bool fits = row.length * sizeof(T) <= room_bytes && op != Operation::logsumexp;
        T *kept = own_room ? reinterpret_cast<T *>(row.y) : room ? room + waiting * block_size : nullptr;
        Task &task = tasks[waiting];
        task.set(sources[waiting], sinks[waiting], row.length, context, fits ? kept : nullptr,
                 fits && !own_room ? row.y : nullptr);
        task.measure();
        ++waiting;
        if (!is_short) finish<op>(tasks, waiting), waiting = 0;
    }
    if (waiting > 0) finish<op>(tasks, waiting);
}

template <Operation op, class S>
void long_rows(const char *x, ptrdiff_t x_stride, char *y, ptrdiff_t y_stride, size_t count, size_t length,
               const Context &context) {
    auto span = [=](size_t r) {
        const ptrdiff_t i = static_cast<ptrdiff_t>(r);
        return Span<S>{reinterpret_cast<const S *>(x + i * x_stride), reinterpret_cast<S *>(y + i * y_stride), length};
    };
    each_span<op, S>(count, span, context);
}

template <Operation op, class S, class T, bool tempered>
void staged_row(const Row &row, const Context &context) {
    if (row.length == 0) return write_empty<op, S>(row.y, 0, 1);
    using Source = StagedSource<T, tempered>;
    Source source(row, gather<S, T>);
    StagedSink<T> sink(row, scatter<S, T>);
    const bool keeps = op == Operation::softmax && row.length * sizeof(T) <= cached_bytes;
    RowTask<op, Source, StagedSink<T>, sizeof(S) == 2 && !tempered> task;
    task.set(source, sink, row.length, context, keeps ? static_cast<T *>(context.exponentials) : nullptr, nullptr);
    task.measure();
    finish<op>(&task, 1);
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
