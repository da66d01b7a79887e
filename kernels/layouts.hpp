// What is computed from a row x and a row v, with sums in doubles, in two layouts: a row's elements in the lanes
// (Along), or an element of several rows in them (Across). Sums run over the slots of state.hpp, so a row has
// the same bits either way.
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

template <class S, class V, class C>
constexpr Ends<C> ends_of() {
    return {std::is_same_v<S, C> && std::is_same_v<V, C>, gather<S, C>, gather_tile<S, C>, gather<V, double>,
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

// Where a maximum is put, as a power of two: 2^-199 of it counts yet in float, 2^-1459 in double.
template <class C>
constexpr C exponential_guard = sizeof(C) == 4 ? 100 : 500;

template <class S, class C = compute<S>>
const Ends<C> &ends_for(Format v_format) {
    static constexpr Ends<C> ends[formats] = {ends_of<S, float, C>(), ends_of<S, double, C>(), ends_of<S, float16, C>(),
                                              ends_of<S, bfloat16, C>()};
    return ends[static_cast<size_t>(v_format)];
}

// Whether lanes are better laid across rows: short ones, and columns.
inline bool runs_across(const ProductRows &rows, size_t count, size_t item) {
    const ptrdiff_t adjacent = static_cast<ptrdiff_t>(item);
    const bool columns = rows.x_step != adjacent && rows.x_across == adjacent && rows.length < (size_t{1} << 31);
    return count > 1 && (rows.length <= across_block || columns);
}

// Call `f(layout)` for all rows; whether all said true.
template <class C, class Function>
bool for_layouts(const ProductRows &rows, const Ends<C> &ends, size_t count, size_t item, Function f) {
    constexpr size_t W = Lanes<C>::count;
    bool all = true;
    if (runs_across(rows, count, item)) {
        for (size_t first = 0; all && first < count; first += W) {
            Across<C> layout(rows, ends, first, count - first < W ? count - first : W);
            all = f(layout);
        }
        return all;
    }
    const bool direct = Along<C, true>::serves(rows, ends, true);
    for (size_t index = 0; all && index < count; ++index) {
        if (direct) {
            Along<C, true> layout(rows, ends, index);
            all = f(layout);
        } else {
            Along<C, false> layout(rows, ends, index);
            all = f(layout);
        }
    }
    return all;
}

}  // namespace stablesoftmax::LEVEL
