// Products with the Jacobians of softmax, log_softmax and logsumexp, of rows x and vectors v.
//
// All but two need the mean of v under p = softmax(x / T). It is s + c, s being the v at the largest x
// and c the mean of v - s: with x = [40, 0] and v = [1, 3] the mean is 1 + 8.5e-18, which no double
// holds. The sums of exp(x) and of exp(x)·(v - s) take the same rounded exponentials, so that an error of
// one of them counts no more than its distance from the mean.
//
// One text for two layouts: a row's elements in the lanes (Along), or an element of several rows in them
// (Across). Sums run over the slots of state.hpp, so a row has the same bits either way.
#pragma once

#include <type_traits>

#include "results.hpp"
#include "staging.hpp"

namespace stablesoftmax::LEVEL {

// Doubles for the lanes of one Vector<C>.
template <class C>
constexpr size_t halves = Lanes<C>::count / Lanes<double>::count;

template <class C>
struct Doubles {
    Vector<double> part[halves<C>];

    template <class Function>
    static INLINE Doubles of(Function f) {
        Doubles result;
        for (size_t h = 0; h < halves<C>; ++h) result.part[h] = f(h);
        return result;
    }
    static INLINE Doubles all(double value) {
        return of([=](size_t) __attribute__((always_inline)) { return broadcast(value); });
    }
    double &operator[](size_t lane) { return reinterpret_cast<double *>(part)[lane]; }
};

INLINE Doubles<float> doubled(Vector<float> v) {
    const Wide w = widen(v);
    return {{w.low, w.high}};
}
INLINE Doubles<double> doubled(Vector<double> v) { return {{v}}; }
INLINE Doubles<float> load_doubled(const float *p) {
    const Wide w = load_wide(p);
    return {{w.low, w.high}};
}
INLINE Doubles<double> load_doubled(const double *p) { return {{load(p)}}; }
INLINE Vector<float> single(Doubles<float> v) { return narrow({v.part[0], v.part[1]}); }
INLINE Vector<double> single(Doubles<double> v) { return v.part[0]; }

// A sum in double lanes. Of floats' terms a double is wide enough; of doubles' the sum is a pair.
template <class C>
struct Running {
    static constexpr bool paired = sizeof(C) == 8;
    Doubles<C> head{}, rest{};

    INLINE void add(Doubles<C> value) {
        for (size_t h = 0; h < halves<C>; ++h) add_part(h, value.part[h], Vector<double>{});
    }
    // a·(b + b_rest)
    INLINE void add_product(Doubles<C> a, Doubles<C> b, Doubles<C> b_rest) {
        for (size_t h = 0; h < halves<C>; ++h) {
            if constexpr (paired) {
                const Pair<double> product = two_product<double>(a.part[h], b.part[h]);
                add_part(h, product.head, multiply_add(a.part[h], b_rest.part[h], product.tail));
            } else {
                head.part[h] = multiply_add(a.part[h], b.part[h], head.part[h]);
            }
        }
    }
    INLINE void add_part(size_t h, Vector<double> value, Vector<double> tail) {
        if constexpr (paired) {
            const Pair<double> sum = two_sum<double>(head.part[h], value);
            head.part[h] = sum.head;
            rest.part[h] += sum.tail + tail;
        } else {
            head.part[h] += value;
        }
    }
    INLINE Running operator+(Running other) const {
        Running sum = *this;
        for (size_t h = 0; h < halves<C>; ++h) sum.add_part(h, other.head.part[h], other.rest.part[h]);
        return sum;
    }
    // Fold the lanes: every one holds the sum.
    INLINE Running along() const {
        Sum<double, Vector<double>> slots{head.part[0], rest.part[0]};
        if constexpr (halves<C> == 2) slots.head += head.part[1];
        auto swap = [](auto s, auto half) {
            return decltype(s){swapped<double>(s.head, half), swapped<double>(s.rest, half)};
        };
        auto add = [](auto a, auto b) {
            return paired ? a + b : decltype(a){a.head + b.head, Vector<double>{}};
        };
        slots = fold_lanes<double>(slots, swap, add);
        auto same = [](Vector<double> v) { return Doubles<C>::of([=](size_t) { return v; }); };
        return {same(slots.head), same(slots.rest)};
    }
};

// ---- where rows come from and go to ---------------------------------------------------------------

// `count` elements of `lanes` rows, turned: element i of row j goes to to[i·W + j].
template <class T>
using GatherTile = void (*)(const char *from, ptrdiff_t step, ptrdiff_t across, T *to, size_t count, size_t lanes,
                            size_t W);
template <class T>
using ScatterTile = void (*)(const T *from, char *to, ptrdiff_t step, ptrdiff_t across, size_t count, size_t lanes,
                             size_t W);

constexpr size_t across_block = 64;

template <class S, class T>
void gather_tile(const char *from, ptrdiff_t step, ptrdiff_t across, T *to, size_t count, size_t lanes, size_t W) {
    constexpr size_t at_once = Lanes<compute<S>>::count;
    if (across == static_cast<ptrdiff_t>(sizeof(S)) && lanes == W && W % at_once == 0) {
        for (size_t i = 0; i < count; ++i)
            for (size_t j = 0; j < W; j += at_once)
                convert(load(reinterpret_cast<const S *>(from + static_cast<ptrdiff_t>(i) * step) + j), at_once, to + i * W + j);
    } else if (across == static_cast<ptrdiff_t>(sizeof(S))) {
        for (size_t i = 0; i < count; ++i) gather<S, T>(from + static_cast<ptrdiff_t>(i) * step, across, to + i * W, lanes);
    } else {
        T line[across_block + 64];
        for (size_t j = 0; j < lanes; ++j) {
            gather<S, T>(from + static_cast<ptrdiff_t>(j) * across, step, line, count);
            for (size_t i = 0; i < count; ++i) to[i * W + j] = line[i];
        }
    }
    for (size_t j = lanes; j < W; ++j)  // what has no row repeats the first
        for (size_t i = 0; i < count; ++i) to[i * W + j] = to[i * W];
}

template <class S, class T>
void scatter_tile(const T *from, char *to, ptrdiff_t step, ptrdiff_t across, size_t count, size_t lanes, size_t W) {
    constexpr size_t at_once = Lanes<compute<S>>::count;
    if (across == static_cast<ptrdiff_t>(sizeof(S)) && lanes == W && W % at_once == 0) {
        for (size_t i = 0; i < count; ++i)
            for (size_t j = 0; j < W; j += at_once)
                store(reinterpret_cast<S *>(to + static_cast<ptrdiff_t>(i) * step) + j,
                      take(from + i * W + j, Vector<compute<S>>{}));
    } else if (across == static_cast<ptrdiff_t>(sizeof(S))) {
        for (size_t i = 0; i < count; ++i) scatter<S, T>(from + i * W, to + static_cast<ptrdiff_t>(i) * step, across, lanes);
    } else {
        T line[across_block + 64];
        for (size_t j = 0; j < lanes; ++j) {
            for (size_t i = 0; i < count; ++i) line[i] = from[i * W + j];
            scatter<S, T>(line, to + static_cast<ptrdiff_t>(j) * across, step, count);
        }
    }
}

// How elements are read and written, by their formats.
template <class C>
struct Ends {
    bool direct;  // x and v are stored as C
    Gather<C> gather_x;
    GatherTile<C> gather_x_tile;
    Gather<double> gather_v;
    GatherTile<double> gather_v_tile;
    Scatter<C> scatter_y;
    ScatterTile<C> scatter_tile;
};

template <class S, class V>
constexpr Ends<compute<S>> ends_of() {
    using C = compute<S>;
    return {std::is_same_v<S, C> && std::is_same_v<V, C>, gather<S, C>,  gather_tile<S, C>, gather<V, double>,
            gather_tile<V, double>, scatter<S, C>, scatter_tile<S, C>};
}

constexpr size_t along_block = 512, widest = Lanes<float>::count;  // a gathering writes whole vectors

// The elements of one row in the lanes. `direct`: all is contiguous, unmasked, and stored as C; read in place.
template <class C, bool direct>
struct Along {
    static constexpr size_t slots = 1, W = Lanes<C>::count;

    const ProductRows &rows;
    const Ends<C> &ends;
    const Row row;
    const char *const v;
    size_t top = 0;  // where the maximum is
    const bool far = row.length > 8192;
    alignas(64) C x_block[direct ? 1 : along_block + W];
    alignas(64) double v_block[direct ? 1 : along_block + W];
    alignas(64) C y_block[along_block + W];

    Along(const ProductRows &rows, const Ends<C> &ends, size_t index)
        : rows(rows), ends(ends), row(rows.row(index)), v(rows.v + static_cast<ptrdiff_t>(index) * rows.v_across) {}

    static bool serves(const ProductRows &rows, const Ends<C> &ends, bool reduces) {
        constexpr ptrdiff_t item = sizeof(C);
        return ends.direct && !rows.where && rows.x_step == item && rows.v_step == item &&
               (reduces || rows.y_step == item);
    }

    size_t block_at(size_t begin) const { return row.length - begin < along_block ? row.length - begin : along_block; }
    bool is_included(size_t i) const { return !row.where || row.where[static_cast<ptrdiff_t>(i) * row.where_step]; }

    INLINE const C *fetch_x(size_t begin, size_t count) {
        const char *from = row.x + static_cast<ptrdiff_t>(begin) * row.x_step;
        if constexpr (direct) return reinterpret_cast<const C *>(from);
        ends.gather_x(from, row.x_step, x_block, count);
        if (row.where) leave_out(begin, count, x_block, -std::numeric_limits<C>::infinity());
        return x_block;
    }
    INLINE void fetch_v(size_t begin, size_t count) {
        if constexpr (direct) return;
        ends.gather_v(v + static_cast<ptrdiff_t>(begin) * rows.v_step, rows.v_step, v_block, count);
        for (size_t j = count; j % W; ++j) v_block[j] = 0;
        if (row.where) leave_out(begin, count, v_block, 0.0);
    }
    template <class T>
    void leave_out(size_t begin, size_t count, T *values, T value) const {
        for (size_t i = 0; i < count; ++i)
            if (!is_included(begin + i)) values[i] = value;
    }

    // f(x)
    template <class Function>
    INLINE void sweep_x(Function f) {
        for (size_t begin = 0; begin < row.length; begin += along_block) {
            const size_t count = block_at(begin);
            const C *from = fetch_x(begin, count);
            for_vectors<C>(count, [&](size_t i, size_t used) __attribute__((always_inline)) {
                if (far) expect_read(from + i);
                f(element(from + i, used));
            });
        }
    }
    // f(slot, number of the vector, x, v, whether at the maximum)
    template <class Function>
    INLINE void sweep(Function f) {
        for (size_t begin = 0; begin < row.length; begin += along_block) {
            const size_t count = block_at(begin);
            const C *from = fetch_x(begin, count);
            fetch_v(begin, count);
            for_vectors<C>(count, [&](size_t i, size_t used) __attribute__((always_inline)) {
                if constexpr (direct) {
                    expect_read(from + i, rows.x_across);
                    expect_read(reinterpret_cast<const C *>(v) + begin + i, far ? read_ahead : rows.v_across);
                }
                f(size_t{0}, (begin + i) / W, element(from + i, used), vector_at(begin, i, used), at_top(begin, i));
            });
        }
    }
    // y = f(number of the vector, x if wanted, v, whether at the maximum)
    template <class Function>
    INLINE void emit(bool with_x, Function f) {
        for (size_t begin = 0; begin < row.length; begin += along_block) {
            const size_t count = block_at(begin);
            const C *from = with_x || direct ? fetch_x(begin, count) : x_block;
            fetch_v(begin, count);
            C *to = direct ? reinterpret_cast<C *>(row.y) + begin : y_block;
            for_vectors<C>(count, [&](size_t i, size_t used) __attribute__((always_inline)) {
                expect_write(to + i);
                const Vector<C> y = f((begin + i) / W, with_x ? element(from + i, used) : Vector<C>{},
                                      vector_at(begin, i, used), at_top(begin, i));
                direct ? store_lanes(to + i, y, used) : store(to + i, y);
            });
            if constexpr (direct) continue;
            if (row.where) leave_out(begin, count, y_block, C{0});
            ends.scatter_y(y_block, row.y + static_cast<ptrdiff_t>(begin) * row.y_step, row.y_step, count);
        }
    }
    void write(Vector<C> value) {
        store(y_block, value);
        ends.scatter_y(y_block, row.y, row.y_step, 1);
    }

    static INLINE Vector<C> element(const C *from, size_t used) {
        if (used == W) return load(from);
        return first_lanes<C>(load_first(from, used), used, -std::numeric_limits<C>::infinity());
    }
    INLINE Doubles<C> vector_at(size_t begin, size_t i, size_t used) const {
        if constexpr (direct) {
            const C *from = reinterpret_cast<const C *>(v) + begin + i;
            if (used == W) return load_doubled(from);
            return doubled(first_lanes<C>(load_first(from, used), used));
        }
        return Doubles<C>::of([&](size_t h) __attribute__((always_inline)) {
            return load(v_block + i + h * Lanes<double>::count);
        });
    }
    INLINE Bits<C> at_top(size_t begin, size_t i) const {
        using Integer = decltype(Bits<C>{}[0] + 0);
        if (begin != top - top % along_block) return Bits<C>{};
        return lane_numbers<C>() + static_cast<Integer>(i) == static_cast<Integer>(top % along_block);
    }

    template <class Function>
    static INLINE Vector<C> fold(Vector<C> v, Function f) {
        return fold_lanes<C>(v, [](Vector<C> v, auto half) { return swapped<C>(v, half); }, f);
    }
    static INLINE Running<C> folded(const Running<C> *slot) { return slot->along(); }

    // The maximum is known: where is the first?
    void find_top(Vector<C> maximum) {
        for (size_t begin = 0; begin < row.length; begin += along_block) {
            const size_t count = block_at(begin);
            const C *from = fetch_x(begin, count);
            for (size_t i = 0; i < count; i += W) {
                const size_t used = count - i < W ? count - i : W;
                const Bits<C> here = element(from + i, used) == maximum;
                for (size_t j = 0; any(here) && j < used; ++j)
                    if (here[j]) return void(top = begin + i + j);
            }
        }
    }
    Doubles<C> vector_at_top() const {
        double value[widest];
        ends.gather_v(v + static_cast<ptrdiff_t>(top) * rows.v_step, rows.v_step, value, 1);
        return Doubles<C>::all(is_included(top) ? value[0] : 0);
    }
    Doubles<C> temperature() const { return Doubles<C>::all(row.temperature); }
    Bits<C> any_included() const {
        bool found = !row.where;
        for (size_t i = 0; i < row.length && !found; ++i) found = is_included(i);
        return found ? ~Bits<C>{} : Bits<C>{};
    }
};

// An element of up to W rows in the lanes.
template <class C>
struct Across {
    static constexpr size_t W = Lanes<C>::count, slots = W;
    using Integer = decltype(Bits<C>{}[0] + 0);
    static constexpr size_t none = ~size_t{0};

    const ProductRows &rows;
    const Ends<C> &ends;
    const size_t first, count;
    size_t fetched_x = none, fetched_v = none;  // where the blocks begin
    Bits<C> top{};
    alignas(64) C x[(across_block + 1) * W];
    alignas(64) double v[(across_block + 1) * W];
    alignas(64) C y[(across_block + 1) * W];

    Across(const ProductRows &rows, const Ends<C> &ends, size_t first, size_t count)
        : rows(rows), ends(ends), first(first), count(count) {}

    size_t row_of(size_t lane) const { return first + (lane < count ? lane : 0); }
    bool is_included(size_t i, size_t lane) const { return rows.is_included(i, row_of(lane)); }
    size_t block_at(size_t begin) const { return rows.length - begin < across_block ? rows.length - begin : across_block; }

    void fetch_x(size_t begin) {
        if (fetched_x == begin) return;
        fetched_x = begin;
        ends.gather_x_tile(rows.x + step(begin, rows.x_step, rows.x_across), rows.x_step, rows.x_across, x,
                           block_at(begin), count, W);
        if (rows.where) leave_out(begin, x, -std::numeric_limits<C>::infinity());
    }
    void fetch_v(size_t begin) {
        if (fetched_v == begin) return;
        fetched_v = begin;
        ends.gather_v_tile(rows.v + step(begin, rows.v_step, rows.v_across), rows.v_step, rows.v_across, v,
                           block_at(begin), count, W);
        if (rows.where) leave_out(begin, v, 0.0);
    }
    ptrdiff_t step(size_t i, ptrdiff_t step, ptrdiff_t across) const {
        return static_cast<ptrdiff_t>(i) * step + static_cast<ptrdiff_t>(first) * across;
    }
    template <class T>
    void leave_out(size_t begin, T *values, T value) const {
        for (size_t i = 0; i < block_at(begin); ++i)
            for (size_t lane = 0; lane < W; ++lane)
                if (!is_included(begin + i, lane)) values[i * W + lane] = value;
    }

    template <class Function>
    INLINE void sweep_x(Function f) {
        for (size_t begin = 0; begin < rows.length; begin += across_block) {
            fetch_x(begin);
            for (size_t i = 0; i < block_at(begin); ++i) f(load(x + i * W));
        }
    }
    template <class Function>
    INLINE void sweep(Function f) {
        for (size_t begin = 0; begin < rows.length; begin += across_block) {
            fetch_x(begin);
            fetch_v(begin);
            for (size_t i = 0; i < block_at(begin); ++i)
                f((begin + i) % W, begin + i, load(x + i * W), vector_at(i), at_top(begin + i));
        }
    }
    template <class Function>
    INLINE void emit(bool with_x, Function f) {
        for (size_t begin = 0; begin < rows.length; begin += across_block) {
            if (with_x) fetch_x(begin);
            fetch_v(begin);
            for (size_t i = 0; i < block_at(begin); ++i)
                store(y + i * W, f(begin + i, load(x + i * W), vector_at(i), at_top(begin + i)));
            if (rows.where) leave_out(begin, y, C{0});
            ends.scatter_tile(y, rows.y + step(begin, rows.y_step, rows.y_across), rows.y_step, rows.y_across,
                              block_at(begin), count, W);
        }
    }
    void write(Vector<C> value) {
        store(y, value);
        ends.scatter_y(y, rows.y + static_cast<ptrdiff_t>(first) * rows.y_across, rows.y_across, count);
    }

    INLINE Doubles<C> vector_at(size_t i) const {
        return Doubles<C>::of([&](size_t h) __attribute__((always_inline)) {
            return load(v + i * W + h * Lanes<double>::count);
        });
    }
    INLINE Bits<C> at_top(size_t i) const { return top == static_cast<Integer>(i); }

    template <class Function>
    static INLINE Vector<C> fold(Vector<C> v, Function) {
        return v;
    }
    static INLINE Running<C> folded(Running<C> *slot) { return LEVEL::fold(slot, W); }

    // The maxima are known: where is the first of each?
    void find_top(Vector<C> maximum) {
        Bits<C> missing = ~Bits<C>{};
        for (size_t begin = 0; begin < rows.length; begin += across_block) {
            fetch_x(begin);
            for (size_t i = 0; i < block_at(begin); ++i) {
                const Bits<C> here = (load(x + i * W) == maximum) & missing;
                top = here ? Bits<C>{} + static_cast<Integer>(begin + i) : top;
                missing &= ~here;
            }
            if (!any(missing)) return;
        }
    }
    Doubles<C> vector_at_top() const {
        Doubles<C> value;
        double one[widest];
        for (size_t lane = 0; lane < W; ++lane) {
            const ptrdiff_t at = static_cast<ptrdiff_t>(top[lane]), row = static_cast<ptrdiff_t>(row_of(lane));
            ends.gather_v(rows.v + at * rows.v_step + row * rows.v_across, rows.v_step, one, 1);
            value[lane] = is_included(static_cast<size_t>(at), lane) ? one[0] : 0;
        }
        return value;
    }
    Doubles<C> temperature() const {
        Doubles<C> value;
        for (size_t lane = 0; lane < W; ++lane) value[lane] = rows.temperature_of(row_of(lane));
        return value;
    }
    Bits<C> any_included() const {
        Bits<C> found{};
        for (size_t lane = 0; lane < W; ++lane)
            for (size_t i = 0; i < rows.length && !found[lane]; ++i) found[lane] = is_included(i, lane) ? -1 : 0;
        return found;
    }
};

// ---- the products -----------------------------------------------------------------------------------

// Where the maximum is put, as a power of two: 2^-199 of it counts yet in float, 2^-1459 in double.
template <class C>
constexpr C product_guard = sizeof(C) == 4 ? 100 : 500;

// exp(x / T), before the sum is divided out. `careful`: infinite x and v are heeded, and a temperature; of any
// other row the bits are the same.
template <class C, bool careful>
struct Shares {
    const bool tempered;
    Vector<C> max, peak;  // the maximum, and where it is infinite 0
    Doubles<C> inverse, inverse_rest, lower, temperature;
    Bits<C> at_one{};  // rows of temperature 1
    Exponential<C, false, false> exponential, tempered_exponential;

    INLINE Shares(Vector<C> max, Doubles<C> temperature, bool tempered)
        : tempered(careful && tempered), max(max), temperature(temperature) {
        peak = careful ? finite_or_zero<C>(max) : max;
        exponential = at_guard(peak);
        if (!this->tempered) return;
        tempered_exponential = at_guard(Vector<C>{});
        const Vector<double> yes = broadcast(1.0), no{};
        at_one = single(Doubles<C>::of([&](size_t h) { return temperature.part[h] == 1 ? yes : no; })) == 1;
        for (size_t h = 0; h < halves<C>; ++h) invert(h);
    }

    static INLINE Exponential<C, false, false> at_guard(Vector<C> peak) {
        Shift<C> shift = shift_at<C>(peak);
        shift.exponent -= product_guard<C> - Limits<C>::guard;
        return Exponential<C, false, false>(shift);
    }

    // As in StagedSource: 1e308 - -1e308 would overflow before its division by 3, and so would 1 / 1e-320.
    INLINE void invert(size_t h) {
        const Vector<double> t = temperature.part[h], one = broadcast(1.0);
        const Bits<double> limit = (t == 0) | (t == std::numeric_limits<double>::infinity());
        lower.part[h] = t > 1 ? one * 0.25 : t < 0x1p-900 ? one * 0x1p200 : one;
        const Vector<double> lifted = limit ? one : t * lower.part[h];
        inverse.part[h] = 1 / lifted;
        const Pair<double> back = two_product<double>(inverse.part[h], lifted);
        inverse_rest.part[h] = ((1 - back.head) - back.tail) * inverse.part[h];
    }

    // A row with one +inf is the row of 0 and -inf that it stands for.
    INLINE Vector<C> seen(Vector<C> x) const {
        constexpr C infinity = std::numeric_limits<C>::infinity();
        if constexpr (!careful) return x;
        const Vector<C> limit = x == infinity ? Vector<C>{} : x - x == 0 ? broadcast(-infinity) : x;
        return max == infinity ? limit : x;
    }

    // exp(x / T), at the scale of the guard; exactly 0 where it is as good as 0.
    INLINE Vector<C> operator()(Vector<C> given) const {
        const Vector<C> x = seen(given);
        if (!careful || !tempered) return exponential.value_or_zero(x);
        Vector<C> head, low;
        divide(x, &head, &low);
        const Bits<C> nothing = tempered_exponential.is_nothing(head);
        const Vector<C> e = nothing ? Vector<C>{} : tempered_exponential.template value<true>(head, low);
        return any(at_one) ? (at_one ? exponential.value_or_zero(x) : e) : e;
    }

    // (x - max) / T. At T = 0 the maxima alone are left, at infinity all that is finite is the same.
    INLINE void divide(Vector<C> x, Vector<C> *head, Vector<C> *low) const {
        constexpr double infinity = std::numeric_limits<double>::infinity();
        const Doubles<C> wide = doubled(x), high = doubled(peak);
        Doubles<C> quotient, rest;
        for (size_t h = 0; h < halves<C>; ++h) {
            const Vector<double> t = temperature.part[h], scale = lower.part[h];
            const Pair<double> d = two_sum<double>(wide.part[h] * scale, -(high.part[h] * scale));
            const Pair<double> q = two_product<double>(d.head, inverse.part[h]);
            Vector<double> tail = q.tail + (d.head * inverse_rest.part[h] + d.tail * inverse.part[h]);
            tail = tail - tail == 0 ? tail : Vector<double>{};
            Vector<double> value = d.head == 0 ? d.head : q.head;  // 0 · inf
            const Bits<double> cold = (t == 0) & (d.head < 0), hot = (t == infinity) & (d.head - d.head == 0);
            value = cold ? broadcast(-infinity) : hot ? Vector<double>{} : value;
            quotient.part[h] = value;
            rest.part[h] = cold | hot ? Vector<double>{} : tail;
        }
        *head = single(quotient);
        const Doubles<C> rounded = doubled(*head);
        for (size_t h = 0; h < halves<C>; ++h) {
            const Vector<double> left = (quotient.part[h] - rounded.part[h]) + rest.part[h];
            rest.part[h] = left - left == 0 ? left : Vector<double>{};
        }
        *low = single(rest);
    }
};

// One sweep to the maximum, one to the sums, one to the results.
template <class C, Product product, class Layout>
struct Multiplication {
    static constexpr bool takes_mean =
        product == Product::softmax || product == Product::log_softmax || product == Product::logsumexp;
    static constexpr bool takes_sum = product == Product::log_softmax_transposed;  // of v, but for the top
    Layout &layout;
    C *kept;  // the exponentials, or null
    Vector<C> max{};
    Doubles<C> s{}, temperature{};
    // What the moment of a row is put down by: 2^500·1e300 is no double.
    Doubles<C> down = Doubles<C>::all(1);

    Multiplication(Layout &layout, C *kept) : layout(layout), kept(kept) {}

    // v - s, and what its rounding left.
    struct Gap {
        Doubles<C> head, tail;
    };
    template <bool careful>
    static INLINE Gap gap_of(Doubles<C> v, Doubles<C> s) {
        Gap gap{};
        for (size_t h = 0; h < halves<C>; ++h) {
            gap.head.part[h] = v.part[h] - s.part[h];
            if constexpr (Running<C>::paired) {
                gap.tail.part[h] = two_sum<double>(v.part[h], -s.part[h]).tail;
                if constexpr (careful) gap.tail.part[h] = finite_or_zero<double>(gap.tail.part[h]);
            }
        }
        return gap;
    }
    // The same, put down; and where p is 0 nothing.
    template <bool careful>
    static INLINE Gap counted(Doubles<C> v, Doubles<C> s, Doubles<C> e, Doubles<C> down) {
        Gap gap = gap_of<careful>(v, s);
        if constexpr (careful)
            for (size_t h = 0; h < halves<C>; ++h)
                for (Vector<double> *part : {&gap.head.part[h], &gap.tail.part[h]})
                    *part = e.part[h] == 0 ? Vector<double>{} : *part * down.part[h];
        return gap;
    }

    // False: something was infinite or NaN, and nothing has been written.
    template <bool careful>
    bool compute(bool tempered) {
        Vector<C> high = broadcast(-std::numeric_limits<C>::infinity());
        layout.sweep_x([&](Vector<C> x) __attribute__((always_inline)) { high = maximum(x, high); });
        max = layout.fold(high, [](Vector<C> a, Vector<C> b) { return maximum(a, b); });
        if (!careful && any(max - max != 0)) return false;
        layout.find_top(max);
        s = layout.vector_at_top();
        temperature = layout.temperature();
        return sum<careful>(Shares<C, careful>(max, temperature, tempered));
    }

    template <bool careful>
    bool sum(const Shares<C, careful> share_of) {
        Running<C> shares[Layout::slots] = {}, moments[Layout::slots] = {};
        const Doubles<C> middle = s, lower = down;
        C one[Lanes<C>::count], *const room = kept ? kept : one;
        const size_t step = kept ? Lanes<C>::count : 0;
        layout.sweep([&](size_t slot, size_t at, Vector<C> x, Doubles<C> v, Bits<C> top) __attribute__((always_inline)) {
            const Vector<C> e = share_of(x);
            store(room + at * step, e);
            if constexpr (takes_sum) {
                shares[slot].add(doubled(top ? Vector<C>{} : e));
                moments[slot].add(without(v, top));
            } else {
                const Doubles<C> wide = load_doubled(room + at * step);
                shares[slot].add(wide);
                if constexpr (takes_mean) {
                    const Gap gap = counted<careful>(v, middle, wide, lower);
                    moments[slot].add_product(wide, gap.head, gap.tail);
                }
            }
        });
        const Running<C> share = layout.folded(shares), moment = layout.folded(moments);
        if constexpr (!careful) {
            if (!finite(share.head) || !finite(moment.head) || !finite(s)) return false;
        } else if (takes_mean && put_down(moment.head)) {
            return sum<careful>(share_of);
        }
        finish(share_of, share, moment);
        return true;
    }

    // Whether the sums are to be taken anew. Of rows with infinite v they stay what they are.
    bool put_down(Doubles<C> moment) {
        bool anew = false;
        for (size_t h = 0; h < halves<C>; ++h) {
            const Bits<double> beyond = (moment.part[h] - moment.part[h] != 0) & (down.part[h] == 1);
            down.part[h] = beyond ? broadcast(0x1p-520) : down.part[h];
            anew |= any(beyond);
        }
        return anew;
    }

    // What the results are made from.
    struct Made {
        Doubles<C> inverse;      // of the sum of the exponentials
        Doubles<C> mean, tail;   // of v - s; or the sum of v
        Doubles<C> at_top;       // log_softmax_transposed there
        Bits<C> undefined;       // rows that are NaN: of a NaN, or of nothing but -inf
        Bits<C> torn;            // rows of several +inf, which are NaN there
        Bits<C> empty;           // rows of which nothing takes part
    };

    template <bool careful>
    void finish(const Shares<C, careful> &share_of, Running<C> share, Running<C> moment) {
        Made made{};
        const Doubles<C> top = doubled(share_of(max));
        for (size_t h = 0; h < halves<C>; ++h) {
            Pair<double> sum = two_sum<double>(share.head.part[h], share.rest.part[h]);
            const Vector<double> others = sum.head;
            if constexpr (takes_sum) sum = two_sum<double>(sum.head, top.part[h]);
            const Vector<double> inverse = 1 / sum.head;
            // Divided by T at once: a subnormal product would not be right any more.
            made.inverse.part[h] = product == Product::softmax ? 1 / (sum.head * divisor(h)) : inverse;
            if constexpr (takes_mean) {
                const Pair<double> mean = quotient(moment.head.part[h], moment.rest.part[h], sum.head * down.part[h],
                                                   sum.tail * down.part[h]);
                made.mean.part[h] = mean.head;
                made.tail.part[h] = finite_or_zero<double>(mean.tail);
            } else if constexpr (takes_sum) {
                const Vector<double> rest = finite_or_zero<double>(moment.rest.part[h]), v = s.part[h];
                const Vector<double> all_others = moment.head.part[h] + rest;
                const Pair<double> all = two_sum<double>(moment.head.part[h], v);
                made.mean.part[h] = all.head + finite_or_zero<double>(all.tail + rest);
                const Vector<double> p = top.part[h] * inverse;
                made.at_top.part[h] = v * (others * inverse) - p * all_others;
            }
        }
        if constexpr (careful) find_undefined(made, share, top);
        if constexpr (product == Product::logsumexp) {
            write_mean<careful>(made);
        } else {
            emit(share_of, made);
        }
    }

    // T; at 0 the limit is constant.
    INLINE Vector<double> divisor(size_t h) const {
        const Vector<double> t = temperature.part[h];
        return t == 0 ? broadcast(std::numeric_limits<double>::infinity()) : t;
    }

    void find_undefined(Made &made, Running<C> share, Doubles<C> top) {
        constexpr C infinity = std::numeric_limits<C>::infinity();
        const Vector<C> sum = single(share.head);
        const Vector<C> others = single(takes_sum ? share.head : less(share.head, times(top, 1.5)));
        const Bits<C> several = others > 0;
        const Bits<C> bottom = max == -infinity;
        if (any(bottom)) made.empty = bottom & ~layout.any_included();
        made.torn = (max == infinity) & several;
        made.undefined = ((sum != sum) | bottom) & ~made.empty;
        if (product == Product::log_softmax || product == Product::logsumexp) made.undefined |= made.torn;
    }

    template <bool careful>
    void write_mean(const Made &made) {
        Doubles<C> value;
        for (size_t h = 0; h < halves<C>; ++h) {
            const Pair<double> sum = two_sum<double>(s.part[h], made.mean.part[h]);
            value.part[h] = sum.head + finite_or_zero<double>(sum.tail + made.tail.part[h]);
        }
        layout.write(settled<careful>(single(value), made));
    }

    template <bool careful>
    INLINE Vector<C> settled(Vector<C> y, const Made &made) const {
        if constexpr (!careful) return y;
        y = made.undefined ? broadcast(std::numeric_limits<C>::quiet_NaN()) : y;
        return made.empty ? Vector<C>{} : y;
    }

    template <bool careful>
    void emit(const Shares<C, careful> share_of, const Made made) {
        const Doubles<C> middle = s;
        const C *const from = kept;
        layout.emit(!kept, [&](size_t at, Vector<C> x, Doubles<C> v, Bits<C> top) __attribute__((always_inline)) {
            const Doubles<C> e = from ? load_doubled(from + at * Lanes<C>::count) : doubled(share_of(x));
            Doubles<C> y = result<careful>(e, v, middle, made);
            if constexpr (takes_sum) y = chosen(top, made.at_top, y);
            if (product != Product::softmax && share_of.tempered)
                for (size_t h = 0; h < halves<C>; ++h) y.part[h] /= divisor(h);
            const Vector<C> value = settled<careful>(single(y), made);
            if constexpr (!careful) return value;
            return made.torn & (single(e) != 0) ? broadcast(std::numeric_limits<C>::quiet_NaN()) : value;
        });
    }

    template <bool careful>
    static INLINE Doubles<C> result(Doubles<C> e, Doubles<C> v, Doubles<C> s, const Made &made) {
        const Gap gap = gap_of<careful>(v, s);
        return Doubles<C>::of([&](size_t h) __attribute__((always_inline)) {
            Vector<double> y = v.part[h];  // what p is multiplied by
            if constexpr (takes_mean) y = (gap.head.part[h] - made.mean.part[h]) + (gap.tail.part[h] - made.tail.part[h]);
            if constexpr (product == Product::log_softmax) return y;
            if constexpr (takes_sum) y = made.mean.part[h];
            Vector<double> inverse = made.inverse.part[h];
            if constexpr (Running<C>::paired) {
                const Bits<double> large = (y > 0x1p500) | (y < -0x1p500);
                const Vector<double> one = broadcast(1.0);
                y *= large ? one * 0x1p-520 : one;
                inverse *= large ? one * 0x1p520 : one;
            }
            y = e.part[h] * y * inverse;
            if constexpr (careful) y = e.part[h] == 0 ? Vector<double>{} : y;
            return takes_sum ? v.part[h] - y : y + 0.0;  // p·v is 0 where p is, and not -0
        });
    }

    static INLINE Doubles<C> chosen(Bits<C> mask, Doubles<C> yes, Doubles<C> no) {
        const Doubles<C> one = doubled(mask ? broadcast(C{1}) : Vector<C>{});
        return Doubles<C>::of([&](size_t h) __attribute__((always_inline)) {
            return one.part[h] != 0 ? yes.part[h] : no.part[h];
        });
    }
    static INLINE Doubles<C> without(Doubles<C> v, Bits<C> mask) { return chosen(mask, Doubles<C>{}, v); }
    static INLINE Doubles<C> times(Doubles<C> v, double factor) {
        return Doubles<C>::of([&](size_t h) __attribute__((always_inline)) { return v.part[h] * factor; });
    }
    static INLINE Doubles<C> less(Doubles<C> a, Doubles<C> b) {
        return Doubles<C>::of([&](size_t h) __attribute__((always_inline)) { return a.part[h] - b.part[h]; });
    }
    static bool finite(Doubles<C> v) {
        Bits<double> beyond{};
        for (Vector<double> part : v.part) beyond |= part - part != 0;
        return !any(beyond);
    }
};

template <Product product, class C>
void multiply_rows(const ProductRows &rows, const Ends<C> &ends, size_t count, size_t item, const Context &context) {
    constexpr size_t W = Lanes<C>::count;
    const ptrdiff_t adjacent = static_cast<ptrdiff_t>(item);
    const size_t room = context.exponentials ? cached_bytes / sizeof(C) : 0;
    auto *memory = static_cast<C *>(context.exponentials);
    const bool columns = rows.x_step != adjacent && rows.x_across == adjacent && rows.length < (size_t{1} << 31);
    if (count > 1 && (rows.length <= across_block || columns)) {
        C *kept = rows.length * W <= room ? memory : nullptr;
        for (size_t first = 0; first < count; first += W) {
            Across<C> layout(rows, ends, first, count - first < W ? count - first : W);
            Multiplication<C, product, Across<C>>(layout, kept).template compute<true>(rows.temperature);
        }
        return;
    }
    C *kept = rows.length + W <= room ? memory : nullptr;
    const bool direct = Along<C, true>::serves(rows, ends, product == Product::logsumexp);
    for (size_t index = 0; index < count; ++index) {
        if (direct && rows.temperature_of(index) == 1) {
            Along<C, true> layout(rows, ends, index);
            if (Multiplication<C, product, Along<C, true>>(layout, kept).template compute<false>(false)) continue;
        }
        Along<C, false> layout(rows, ends, index);
        Multiplication<C, product, Along<C, false>>(layout, kept).template compute<true>(layout.row.temperature != 1);
    }
}

template <Product product, class S>
void multiply(const ProductRows &rows, size_t count, const Context &context) {
    using C = compute<S>;
    static constexpr Ends<C> ends[formats] = {ends_of<S, float>(), ends_of<S, double>(), ends_of<S, float16>(),
                                              ends_of<S, bfloat16>()};
    multiply_rows<product, C>(rows, ends[static_cast<size_t>(rows.v_format)], count, sizeof(S), context);
}

}  // namespace stablesoftmax::LEVEL
