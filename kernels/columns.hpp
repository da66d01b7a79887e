// Columns: lanes across the contiguous dimension beside the axis.
//
// The arithmetic and the order of every sum are those of rows.hpp, so that a column has the bits of
// the same row.
#pragma once

#include "rows.hpp"

namespace stablesoftmax::LEVEL {

// Slot j of each column; lane c of the vectors is column c.
template <class T>
struct Slot;

template <>
struct Slot<float> {
    Accumulator<float> sum;
    INLINE Vector<float> so_far() const { return narrow({sum.low, sum.high}) + sum.rests; }
    INLINE Sum<float, Vector<double>> low() const { return {sum.low}; }
    INLINE Sum<float, Vector<double>> high() const { return {sum.high}; }
};

template <>
struct Slot<double> {
    Accumulator<double> sum;
    INLINE Vector<double> so_far() const { return sum.head; }
    INLINE Sum<double, Vector<double>> low() const { return {sum.head, sum.rest}; }
};

// The sums of one vector of columns.
template <class T>
struct ColumnSums;

template <>
struct ColumnSums<float> {
    Sum<float, Vector<double>> low{}, high{};
    INLINE Vector<float> rounded() const { return narrow({low.head, high.head}); }
    // Its own sums in the chosen lanes, another's in the others.
    static INLINE ColumnSums either(Bits<float> chosen, ColumnSums sums, Vector<float> other) {
        const Wide own = widen(chosen ? sums.rounded() : other), is = widen(chosen ? broadcast(1.0f) : Vector<float>{});
        sums.low.head = is.low == 1 ? sums.low.head : own.low;
        sums.high.head = is.high == 1 ? sums.high.head : own.high;
        return sums;
    }
    INLINE Factor<float> factor() const { return factor_of(low, high); }
};

template <>
struct ColumnSums<double> {
    Sum<double, Vector<double>> low{};
    INLINE Vector<double> rounded() const { return low.head; }
    static INLINE ColumnSums either(Bits<double> chosen, ColumnSums sums, Vector<double> other) {
        return {{chosen ? sums.low.head : other, chosen ? sums.low.rest : Vector<double>{}}};
    }
    INLINE Factor<double> factor() const { return factor_of(low); }
};

template <class T>
INLINE void add_block(ColumnSums<T> &sums, const Slot<T> *slots) {
    constexpr size_t W = Lanes<T>::count;
    Sum<T, Vector<double>> part[W];
    for (size_t j = 0; j < W; ++j) part[j] = slots[j].low();
    sums.low = sums.low + fold(part, W);
    if constexpr (sizeof(T) == 4) {
        for (size_t j = 0; j < W; ++j) part[j] = slots[j].high();
        sums.high = sums.high + fold(part, W);
    }
}

// Which columns a sweep leaves the maximum's term out of, and what is as good as nothing.
enum class Skip { nowhere, where_left_out, everywhere };

// `vectors` vectors of columns, the last of which may have fewer lanes in use.
template <Operation op, class S, size_t vectors>
struct ColumnTask {
    using T = compute<S>;
    static constexpr size_t W = Lanes<T>::count;
    static constexpr bool coarse = sizeof(S) == 2;
    using Exp = Exponential<T, false, coarse>;

    const char *x;
    ptrdiff_t x_step;
    char *y;
    ptrdiff_t y_step;
    size_t columns, length;
    const Context &context;
    T *exponentials = nullptr;  // length × vectors × W, or null
    Shift<T> shift[vectors]{};
    Vector<T> guess[vectors]{}, extreme[vectors]{};
    ColumnSums<T> sums[vectors]{};
    Bits<T> settled[vectors]{};  // lanes whose sum can be trusted
    ColumnSums<T> without[vectors]{};  // of lanes that are dominated or left out: the sum of all but the maximum's term
    Bits<T> left_out[vectors]{};  // lanes that have this sum from the first, and no other
    Bits<T> tied[vectors]{};     // lanes whose entries get a share or nothing: no sum, or all entries are equal
    Vector<T> peak[vectors]{}, share[vectors]{};  // of those: what gets the share. A NaN of a peak: all do

    INLINE size_t lanes(size_t v) const { return columns - v * W < W ? columns - v * W : W; }

    // Lines are asked for this many rows ahead: the caches' own look-ahead does not follow a stride
    // across pages.
    static constexpr ptrdiff_t rows_ahead = 8;

    INLINE Vector<T> load_x(size_t i, size_t v) const {
        const char *row = x + static_cast<ptrdiff_t>(i) * x_step + v * W * sizeof(S);
        expect_read(row, rows_ahead * x_step);
        return load_lanes(reinterpret_cast<const S *>(row), lanes(v));
    }

    INLINE void store_y(size_t i, size_t v, Vector<T> value) {
        char *row = y + static_cast<ptrdiff_t>(i) * y_step + v * W * sizeof(S);
        expect_write(row, rows_ahead * y_step);
        store_lanes(reinterpret_cast<S *>(row), value, lanes(v));
    }

    // False if it was given up: with `may_stop`, when a sum has gone beyond the ceiling.
    template <Skip skip>
    bool sweep(ColumnSums<T> *total, bool may_stop) {
        Exp exponentials_of[vectors];
        for (size_t v = 0; v < vectors; ++v) exponentials_of[v] = exponential(v);
        for (size_t begin = 0; begin < length; begin += block_size) {
            size_t end = length - begin < block_size ? length : begin + block_size;
            Slot<T> slots[vectors][W] = {};
            size_t look = begin + first_look;
            for (size_t i = begin; i < end; ++i) {
                if (may_stop && i == look) {
                    if (overflows(slots, i - begin)) return false;
                    look += look - begin;
                }
                for (size_t v = 0; v < vectors; ++v) absorb<skip>(i, v, exponentials_of[v], slots[v][i % W].sum);
                if ((i + 1) % (stretch * W) == 0 || i + 1 == end) settle(slots);
            }
            for (size_t v = 0; v < vectors; ++v) add_block<T>(total[v], slots[v]);
        }
        return true;
    }

    // A guess that is too low shows early; it is looked for after so many rows, twice as many, and so on.
    static constexpr size_t first_look = 2 * W;

    static INLINE bool overflows(const Slot<T> (&slots)[vectors][W], size_t rows) {
        Bits<T> beyond{};
        for (auto &column : slots)
            for (size_t j = 0; j < W && j < rows; ++j)
                beyond |= ~(column[j].so_far() < static_cast<T>(Limits<T>::ceiling));
        return any(beyond);
    }

    static void settle(Slot<T> (&slots)[vectors][W]) {
        for (auto &column : slots)
            for (Slot<T> &slot : column) slot.sum.settle();
    }

    INLINE Exp exponential(size_t v) const { return Exp(shift[v]); }

    template <Skip skip>
    INLINE void absorb(size_t i, size_t v, const Exp &exponential, Accumulator<T> &sum) {
        Vector<T> value = load_x(i, v);
        Term<T> e = exponential.template term<false>(value, Vector<T>{});
        if constexpr (skip == Skip::everywhere)
            e = LEVEL::without<T>(e, (value == extreme[v]) | exponential.is_nothing(value));
        else
            extreme[v] = Extreme<op>::of(value, extreme[v]);
        if constexpr (skip == Skip::where_left_out)
            e = LEVEL::without<T>(e, left_out[v] & ((value == guess[v]) | exponential.is_nothing(value)));
        if constexpr (op == Operation::softmax)
            if (exponentials) store(exponentials + (i * vectors + v) * W, e.value());
        add<op, coarse, T>(sum, e);
    }

    // The maximum of each column, and what tells that it has no sum.
    struct Tops {
        Vector<T> value[vectors];
        Bits<T> count[vectors];  // of the elements that are equal to it
        Bits<T> has_nan[vectors], peaks[vectors];
        INLINE Bits<T> has_sum(size_t v) const { return (value[v] - value[v] == 0) & ~has_nan[v]; }
    };

    // A sweep at a guess of each column's maximum; where that fails, another at the maxima of the
    // columns that it fails for. The others keep their guess, and with it the bits of the same row.
    void measure() {
        for (size_t v = 0; v < vectors; ++v)
            guess[v] = guess_of<T>(load_x(0, v), load_x(length / 2, v), load_x(length - 1, v));
        const bool complete = measure_at_guess<false>(true);
        if (complete && is_settled()) return;
        Tops tops;
        find_tops(tops);
        for (size_t v = 0; v < vectors; ++v)
            guess_again(v, tops, complete ? ~settled[v] : certainly_fails(v, tops.value[v]));
        measure_at_guess<true>(false);
        if (!complete && !is_settled_but(tops)) {  // a sum beyond the ceiling of terms below it
            for (size_t v = 0; v < vectors; ++v) guess_again(v, tops, ~settled[v]);
            measure_at_guess<true>(false);
        }
        tie_unsettled(tops);
    }

    // At the maximum itself; the logarithms leave its own term out, if no other element is equal to it.
    INLINE void guess_again(size_t v, const Tops &tops, Bits<T> fails) {
        guess[v] = fails ? finite_or_zero<T>(tops.value[v]) : guess[v];
        if constexpr (op != Operation::softmax) left_out[v] |= fails & tops.has_sum(v) & (tops.count[v] == 1);
    }

    template <bool may_leave_out>
    bool measure_at_guess(bool may_stop) {
        constexpr bool leaves_out = may_leave_out && op != Operation::softmax;
        for (size_t v = 0; v < vectors; ++v) {
            shift[v] = shift_at<T>(guess[v]);
            if constexpr (leaves_out) shift[v].exponent -= left_out[v] ? broadcast(Limits<T>::others_guard) : Vector<T>{};
            extreme[v] = Extreme<op>::template none<T>();
            sums[v] = {};
        }
        const bool complete = sweep<leaves_out ? Skip::where_left_out : Skip::nowhere>(sums, may_stop);
        for (size_t v = 0; v < vectors; ++v) {
            settled[v] = left_out[v] | trusted<T>(sums[v].rounded());
            if constexpr (leaves_out) take_left_out(v);
        }
        return complete;
    }

    // Where the sum is of the others alone it is moved, and the maximum's own takes its place: `dominated` sees
    // that it leaves nothing.
    INLINE void take_left_out(size_t v) {
        shift[v] = shift_at<T>(guess[v]);
        without[v] = sums[v];
        sums[v] = ColumnSums<T>::either(~left_out[v], sums[v], top(v).head);
    }

    bool is_settled() const {
        Bits<T> all = settled[0];
        for (size_t v = 1; v < vectors; ++v) all &= settled[v];
        return !any(~all);
    }

    __attribute__((noinline)) void find_tops(Tops &tops) {
        constexpr T infinity = std::numeric_limits<T>::infinity();
        for (size_t v = 0; v < vectors; ++v) {
            tops.value[v] = broadcast(-infinity);
            tops.has_nan[v] = tops.peaks[v] = tops.count[v] = Bits<T>{};
        }
        for (size_t i = 0; i < length; ++i)
            for (size_t v = 0; v < vectors; ++v) {
                const Vector<T> value = load_x(i, v);
                if constexpr (op != Operation::softmax)
                    tops.count[v] = (value > tops.value[v] ? Bits<T>{} : tops.count[v]) - (value >= tops.value[v]);
                tops.value[v] = maximum(value, tops.value[v]);
                tops.has_nan[v] |= value != value;
                tops.peaks[v] -= value == infinity;  // true is -1
            }
    }

    // Whether the sum at the guess is sure not to be trusted: the largest term alone is beyond the ceiling,
    // or all terms together are below what a maximum's own would be.
    INLINE Bits<T> certainly_fails(size_t v, Vector<T> top) const {
        constexpr T floor = sizeof(T) == 4 ? T(0x1p50) : T(0x1p115);  // half of what is trusted
        const Vector<T> own = exponential(v).template value<false>(top, Vector<T>{});
        return ~(own < static_cast<T>(Limits<T>::ceiling)) | (own * static_cast<T>(length) < floor);
    }

    bool is_settled_but(const Tops &tops) const {
        Bits<T> open{};
        for (size_t v = 0; v < vectors; ++v) open |= tops.has_sum(v) & ~settled[v];
        return !any(open);
    }

    // Columns that have no sum. They get numbers that the arithmetic for the others can go on with.
    void tie_unsettled(const Tops &tops) {
        constexpr T sum = sizeof(T) == 4 ? T(0x1p60) : T(0x1p130), nan = std::numeric_limits<T>::quiet_NaN();
        for (size_t v = 0; v < vectors; ++v) {
            tied[v] = ~settled[v];
            sums[v] = ColumnSums<T>::either(settled[v], sums[v], broadcast(sum));
            extreme[v] = settled[v] ? extreme[v] : guess[v];
            for (size_t c = 0; c < W; ++c) {
                if (settled[v][c]) continue;
                const Census column{length, static_cast<size_t>(tops.peaks[v][c]), tops.has_nan[v][c] != 0};
                const Tie<T> tie = tie_of<op, T>(column, context.undefined);
                share[v][c] = tie.share;
                peak[v][c] = column.has_nan ? nan : tie.peak;
            }
        }
    }

    // Columns whose elements are equal, but for -inf: each has the same share. Of most columns their minimum
    // or their sum tells that they are not.
    void tie_equal() {
        constexpr T nothing = -std::numeric_limits<T>::infinity();
        Bits<T> equal[vectors];
        bool found = false;
        for (size_t v = 0; v < vectors; ++v) {
            equal[v] = settled[v] & (extreme[v] == guess[v]);
            if (any(equal[v])) {
                const Vector<T> own = exponential(v).template value<false>(guess[v], Vector<T>{});
                equal[v] &= sums[v].rounded() <= own * (static_cast<T>(length) * static_cast<T>(nearly_equal));
            }
            equal[v] |= settled[v] & (extreme[v] == nothing);
            found |= any(equal[v]);
        }
        if (found) count_equal(equal);
    }

    __attribute__((noinline)) void count_equal(Bits<T> (&equal)[vectors]) {
        constexpr T nothing = -std::numeric_limits<T>::infinity();
        Vector<T> value[vectors];
        Bits<T> count[vectors]{};
        for (Vector<T> &each : value) each = broadcast(nothing);
        for (size_t i = 0; i < length; ++i) {
            Bits<T> left{};
            for (size_t v = 0; v < vectors; ++v) {
                const Vector<T> x = load_x(i, v);
                value[v] = value[v] == nothing ? x : value[v];
                count[v] -= x == value[v];  // true is -1; of -inf, too, until there is another
                count[v] = value[v] == nothing ? Bits<T>{} : count[v];
                equal[v] &= (x == value[v]) | (x == nothing);
                left |= equal[v];
            }
            if (!any(left)) return;
        }
        for (size_t v = 0; v < vectors; ++v) {
            tied[v] |= equal[v];
            peak[v] = equal[v] ? value[v] : peak[v];
            for (size_t c = 0; c < W; ++c)
                if (equal[v][c]) share[v][c] = equal_share<T>(static_cast<size_t>(count[v][c]));
        }
    }

    bool has_ties() const {
        Bits<T> found{};
        for (const Bits<T> &each : tied) found |= each;
        return any(found);
    }

    // What is written: the result, or where columns are tied their share or nothing.
    template <bool ties>
    INLINE void store_result(size_t i, size_t v, Vector<T> value) {
        if constexpr (ties) {
            constexpr T none = op == Operation::softmax ? 0 : -std::numeric_limits<T>::infinity();
            const Bits<T> chosen = (load_x(i, v) == peak[v]) | (peak[v] != peak[v]);
            value = tied[v] ? (chosen ? share[v] : broadcast(none)) : value;
        }
        store_y(i, v, value);
    }

    template <bool careful, bool ties>
    void write_softmax() {
        Factor<T> scale[vectors];
        Exp again[vectors];
        for (size_t v = 0; v < vectors; ++v) {
            scale[v] = careful ? sums[v].factor() : complete(sums[v].factor());
            again[v] = exponential(v);
        }
        for (size_t i = 0; i < length; ++i)
            for (size_t v = 0; v < vectors; ++v) {
                Vector<T> e = exponentials
                                  ? load(exponentials + (i * vectors + v) * W)
                                  : again[v].template value<false>(load_x(i, v), Vector<T>{});
                const Vector<T> p =
                    careful ? times_carefully<coarse, T>(e, scale[v]) : product<coarse, T>(e, scale[v]);
                store_result<ties>(i, v, p);
            }
    }

    // log1p(r) of each column, in double lanes.
    struct Logarithms {
        Pair<double> low, high;
    };

    INLINE Pair<double> logarithm(Sum<T, Vector<double>> all, Sum<T, Vector<double>> without,
                                    Vector<double> top, Vector<double> rest) {
        Others<T> others = others_of<coarse, T>(all, top, rest), exact = lowered<T>(without);
        Vector<double> head = others.dominated ? exact.head : others.head;
        Vector<double> tail = others.dominated ? exact.rest : others.rest;
        return log1p_ratio(head, tail, top, rest);
    }

    // Whether a column is dominated whose sum of the others is not there yet.
    bool has_dominated() {
        bool found = false;
        for (size_t v = 0; v < vectors; ++v) {
            Rounded<T> e = top(v);
            if constexpr (sizeof(T) == 4) {
                const Wide t = widen(e.head), r = widen(e.rest), has = widen(left_out[v] ? broadcast(1.0f) : Vector<T>{});
                found |= any(others_of<coarse, T>(sums[v].low, t.low, r.low).dominated & (has.low == 0));
                found |= any(others_of<coarse, T>(sums[v].high, t.high, r.high).dominated & (has.high == 0));
            } else {
                found |= any(others_of<coarse, T>(sums[v].low, e.head, e.rest).dominated & ~left_out[v]);
            }
        }
        return found;
    }

    // The maximum's own term.
    INLINE Rounded<T> top(size_t v) {
        return rounded_term<coarse, false, T>(shift[v], extreme[v], Vector<T>{});
    }

    void sweep_others() {
        for (Shift<T> &each : shift) each.exponent -= Limits<T>::others_guard;
        for (ColumnSums<T> &each : without) each = {};
        sweep<Skip::everywhere>(without, false);
        for (Shift<T> &each : shift) each.exponent += Limits<T>::others_guard;
    }

    void logarithms(Logarithms *result) {
        if (has_dominated()) sweep_others();
        for (size_t v = 0; v < vectors; ++v) {
            Rounded<T> e = top(v);
            if constexpr (sizeof(T) == 4) {
                Wide t = widen(e.head), r = widen(e.rest);
                result[v].low = logarithm(sums[v].low, without[v].low, t.low, r.low);
                result[v].high = logarithm(sums[v].high, without[v].high, t.high, r.high);
            } else {
                result[v].low = logarithm(sums[v].low, without[v].low, e.head, e.rest);
            }
        }
    }

    INLINE Pair<T> normalizer_of(size_t v, Logarithms log) {
        if constexpr (sizeof(T) == 4)
            return normalizer(widen(extreme[v]), Wide{log.low.head + log.low.tail, log.high.head + log.high.tail});
        else
            return normalizer(extreme[v], log.low);
    }

    template <bool ties>
    void write_log_softmax() {
        Logarithms log[vectors];
        logarithms(log);
        Pair<T> norm[vectors];
        for (size_t v = 0; v < vectors; ++v) norm[v] = normalizer_of(v, log[v]);
        for (size_t i = 0; i < length; ++i)
            for (size_t v = 0; v < vectors; ++v)
                store_result<ties>(i, v, (load_x(i, v) - norm[v].head) - norm[v].tail);
    }

    void write_logsumexp() {
        Logarithms log[vectors];
        logarithms(log);
        for (size_t v = 0; v < vectors; ++v) {
            Pair<T> norm = normalizer_of(v, log[v]);
            Vector<T> result = norm.head + norm.tail;
            result = tied[v] ? peak[v] : result;  // NaN, or the infinity that it is
            for (size_t j = 0; j < lanes(v); ++j)
                store_first(reinterpret_cast<S *>(y + static_cast<ptrdiff_t>(v * W + j) * y_step),
                            broadcast(static_cast<T>(result[j])), 1);
        }
    }

    void run() {
        measure();
        if constexpr (op == Operation::softmax) {
            tie_equal();
            // With ties there is one way, the careful one: such columns are few, and its results the same.
            if (has_ties())
                write_softmax<true, true>();
            else
                may_be_subnormal() ? write_softmax<true, false>() : write_softmax<false, false>();
        } else if constexpr (op == Operation::log_softmax) {
            has_ties() ? write_log_softmax<true>() : write_log_softmax<false>();
        } else {
            write_logsumexp();
        }
    }

    bool may_be_subnormal() const {
        bool found = false;
        for (size_t v = 0; v < vectors; ++v)
            found |= any(~(extreme[v] >= lowest_normal<T>(guess[v], sums[v].rounded())));
        return found;
    }
};

template <Operation op, class S, size_t vectors>
void column_tile(const char *x, ptrdiff_t x_step, char *y, ptrdiff_t y_step, size_t columns, size_t length,
                 const Context &context) {
    ColumnTask<op, S, vectors> task{x, x_step, y, y_step, columns, length, context};
    if (op == Operation::softmax && length * vectors * vector_bytes <= cached_bytes)
        task.exponentials = static_cast<compute<S> *>(context.exponentials);
    task.run();
}

template <Operation op, class S>
void columns(const char *x, ptrdiff_t x_step, char *y, ptrdiff_t y_step, size_t count, size_t length,
             const Context &context) {
    constexpr size_t W = Lanes<compute<S>>::count, tile = 4;
    const ptrdiff_t y_item = op == Operation::logsumexp ? y_step : static_cast<ptrdiff_t>(sizeof(S));
    if (length == 0) return write_empty<op, S>(y, y_item, count);
    while (count > 0) {
        size_t now = count >= tile * W ? tile * W : count < W ? count : W;
        auto run = now == tile * W ? column_tile<op, S, tile> : column_tile<op, S, 1>;
        run(x, x_step, y, y_step, now, length, context);
        x += now * sizeof(S);
        y += static_cast<ptrdiff_t>(now) * y_item;
        count -= now;
    }
}

}  // namespace stablesoftmax::LEVEL
