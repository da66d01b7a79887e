// Draws: the part of a row's distribution that is drawn from, and where in it a uniform number falls.
//
// A weight is exp((x - max) / temperature) in doubles, whatever the format; the maximum's is 1. Of
// q = (x - max) / temperature each of the two roundings costs q·exp(q)·2^-53 of the whole, 4e-17 at most,
// which is less than the grain of the uniform number.
#pragma once

#include "kept.hpp"
#include "rows.hpp"

namespace stablesoftmax::LEVEL {

// ---------------------------------------------------------------------------------------------
// Is there a distribution

template <class Source>
bool has_distribution(Source &source, size_t length) {
    using T = typename Lanes<compute<typename Source::Storage>>::Vector;
    using E = compute<typename Source::Storage>;
    constexpr E infinity = std::numeric_limits<E>::infinity();
    T max = broadcast<E>(-infinity);
    Bits<E> nan{}, peaks{};
    for_blocks(length, [&](size_t begin, size_t count) {
        const auto block = source.chunk(begin, count);
        for_vectors<E>(count, [&](size_t i, size_t lanes) __attribute__((always_inline)) {
            T x = load_lanes(block.x + i, lanes);
            if (lanes < Lanes<E>::count) x = first_lanes<E>(x, lanes, -infinity);
            max = maximum(x, max);
            peaks -= x == infinity;  // true is -1
            nan |= x != x;
        });
    });
    size_t infinite = 0;
    for (size_t j = 0; j < Lanes<E>::count; ++j) infinite += static_cast<size_t>(peaks[j]);
    return !any(nan) && infinite <= 1 && any(max > -infinity);
}

// No NaN, at most one +inf, and something above -inf.
template <class S>
bool can_draw(const Row &row) {
    if (!row.where && row.x_step == static_cast<ptrdiff_t>(sizeof(S))) {
        DirectSource<S> source{reinterpret_cast<const S *>(row.x)};
        return has_distribution(source, row.length);
    }
    StagedSource<compute<S>, false> source(row, gather<S, compute<S>>);
    return has_distribution(source, row.length);
}

// ---------------------------------------------------------------------------------------------
// One row

// exp((x - max) / temperature), and its limits: at 0, or of +inf, the maximum alone; at infinity all above -inf.
struct Weigher {
    static constexpr double infinity = std::numeric_limits<double>::infinity();

    double temperature, half, divisor;
    Exponential<double, true, false> exponential{Shift<double>{}};

    // 1e308 - -1e308 would overflow before its division by 1e308: halves do not.
    INLINE explicit Weigher(double temperature)
        : temperature(temperature), half(temperature > 1 ? 0.5 : 1), divisor(temperature * half) {}

    INLINE Vector<double> weight(Vector<double> x, Vector<double> max) const {
        const Vector<double> one = broadcast(1.0);
        if (temperature == 0) return x == max ? one : Vector<double>{};
        const Bits<double> peaks = max == infinity;
        const Vector<double> w = temperature == infinity ? (x > -infinity ? one : Vector<double>{}) : power(x, max);
        return peaks ? (x == max ? one : Vector<double>{}) : w;
    }

    INLINE Vector<double> power(Vector<double> x, Vector<double> max) const {
        if (temperature == 1) return exponential.value_or_zero(x - max);
        return exponential.value_or_zero((x * half - max * half) / divisor);
    }
};

// A row's weights, in room of the caller's, and what is drawn from them.
struct DrawTask {
    const Filter &filter;
    size_t length;
    double *weight;
    double *spare;   // the same again, if the filter needs it
    double *before;  // the sum of all chunks before each, and of all of them

    DrawTask(const Row &row, const Filter &filter, double *room)
        : filter(filter), length(row.length), weight(room), spare(weight + length + drawn_chunk),
          before(spare + (filter.sorts() ? length + drawn_chunk : 0)) {}

    size_t chunks() const { return (length + drawn_chunk - 1) / drawn_chunk; }

    void weigh(const double *x, double temperature) {
        constexpr double infinity = std::numeric_limits<double>::infinity();
        Vector<double> highest = broadcast(-infinity);
        for_vectors<double>(length, [&](size_t i, size_t lanes) __attribute__((always_inline)) {
            highest = maximum(load_lanes(x + i, lanes), highest);
        });
        const double max = Extreme<Operation::logsumexp>::along<double>(highest)[0];
        const double least = filter.top_k < length ? least_of_top(x, length, filter.top_k, spare) : -infinity;
        const Weigher weigher(temperature);
        const Vector<double> top = broadcast(max);
        for_vectors<double>(length, [&](size_t i, size_t lanes) __attribute__((always_inline)) {
            const Vector<double> e = load_lanes(x + i, lanes);
            const Bits<double> kept = e >= least;
            const Vector<double> w = any(kept) ? weigher.weight(e, top) : Vector<double>{};
            const Vector<double> mine = kept ? w : Vector<double>{};
            store(weight + i, lanes < Lanes<double>::count ? first_lanes<double>(mine, lanes) : mine);
        });
    }

    void keep() {
        if (filter.top_p < 1) keep_top_p(weight, length, filter.top_p, spare);
        if (filter.min_p > 0)
            for (size_t i = 0; i < length; ++i) weight[i] = weight[i] < filter.min_p ? 0 : weight[i];
    }

    void sum_chunks() {
        before[0] = 0;
        for (size_t c = 0; c < chunks(); ++c) {
            const size_t begin = c * drawn_chunk, count = length - begin < drawn_chunk ? length - begin : drawn_chunk;
            Vector<double> sum{};
            for (size_t i = 0; i < count; i += Lanes<double>::count) sum += load(weight + begin + i);
            double all = 0;
            if (length <= short_draws)  // in order, as those that are drawn from side by side
                for (size_t i = 0; i < length; ++i) all += weight[i];
            else
                for (size_t j = 0; j < Lanes<double>::count; ++j) all += sum[j];
            before[c + 1] = before[c] + all;
        }
    }

    // How many of `count` rising sums are up to a target, in steps that do not depend on it.
    template <class IsUpTo>
    static INLINE size_t count_up_to(size_t count, IsUpTo is_up_to) {
        size_t first = 0;
        for (; count > 1; count -= count / 2) first += is_up_to(first + count / 2 - 1) ? count / 2 : 0;
        return first + (count == 1 && is_up_to(first));
    }

    // The chunk that the target falls into: the first whose end is above it, so its sum is not 0.
    size_t chunk_of(double target) const {
        return count_up_to(chunks() - 1, [&](size_t i) { return before[i + 1] <= target; });
    }

    // The first place whose sum exceeds the target; where rounding lets none, the last that has a weight.
    // `running`: the weights are summed within their chunk.
    template <bool running>
    size_t place_of(double target) const {
        const size_t c = chunk_of(target), begin = c * drawn_chunk;
        const size_t end = length - begin < drawn_chunk ? length : begin + drawn_chunk;
        if constexpr (running) {
            auto is_up_to = [&](size_t i) { return before[c] + weight[begin + i] <= target; };
            size_t first = begin + count_up_to(end - begin, is_up_to);
            if (first < end) return first;
            while (first > begin + 1 && weight[first - 2] == weight[end - 1]) --first;
            return first - 1;
        }
        double sum = 0;
        size_t last = begin;
        for (size_t i = begin; i < end; ++i) {
            last = sum + weight[i] != sum ? i : last;
            sum += weight[i];
            if (before[c] + sum > target) return i;
        }
        return last;
    }

    void sum_within_chunks() {
        for (size_t i = 0; i < length; ++i)
            if (i % drawn_chunk != 0) weight[i] += weight[i - 1];
    }

    // Of one short row many draws, lanes across them.
    void draw_side_by_side(int64_t *draws, size_t count, double all) const {
        for_vectors<double>(count, [&](size_t k, size_t lanes) {
            Vector<double> number{};
            std::memcpy(&number, draws + k, lanes * sizeof(double));
            const Vector<double> target = number * all;
            Bits<double> place{};
            for (size_t i = 0; i < length; ++i) {
                const Vector<double> sum = broadcast(weight[i]);
                place -= (sum <= target) & (sum < all);  // true is -1
            }
            std::memcpy(draws + k, &place, lanes * sizeof(int64_t));
        });
    }

    template <bool running>
    void draw(int64_t *draws, ptrdiff_t step, size_t count) const {
        const double all = before[chunks()];
        if (running && step == 1 && length <= short_draws) return draw_side_by_side(draws, count, all);
        for (size_t k = 0; k < count; ++k, draws += step) {
            double number;
            std::memcpy(&number, draws, sizeof number);
            *draws = static_cast<int64_t>(place_of<running>(number * all));
        }
    }
};

template <class S>
void draw_row(const Row &row, const Filter &filter, int64_t *draws, ptrdiff_t step, size_t count, double *room) {
    DrawTask task(row, filter, room);
    const double *x = reinterpret_cast<const double *>(row.x);
    if (sizeof(S) != sizeof(double) || row.where || row.x_step != static_cast<ptrdiff_t>(sizeof(double))) {
        gather<S, double>(row.x, row.x_step, task.weight, row.length);
        for (size_t i = 0; row.where && i < row.length; ++i)
            if (!row.where[static_cast<ptrdiff_t>(i) * row.where_step])
                task.weight[i] = -std::numeric_limits<double>::infinity();
        x = task.weight;
    }
    task.weigh(x, row.temperature);
    task.keep();
    task.sum_chunks();
    constexpr size_t worth_it = 8;  // draws, to be searched for by halving
    if (count < worth_it) return task.draw<false>(draws, step, count);
    task.sum_within_chunks();
    task.draw<true>(draws, step, count);
}

// ---------------------------------------------------------------------------------------------
// Short rows, lanes across them

// The weights of as many rows as there are lanes, each summed in order.
struct ShortTask {
    size_t length;
    alignas(64) double turned[short_draws][Lanes<double>::count];  // element i of each row, then its sum up to there
    Vector<double> all;

    template <class S>
    void read(const DrawnRows &rows, size_t first, size_t count) {
        length = rows.length;
        for (size_t j = 0; j < Lanes<double>::count; ++j) {
            const char *x = rows.x + static_cast<ptrdiff_t>(first + (j < count ? j : 0)) * rows.x_stride;
            for (size_t i = 0; i < length; ++i, x += rows.x_step) turned[i][j] = as_double<S>(x);
        }
    }

    template <class S>
    static INLINE double as_double(const char *x) {
        S element;
        std::memcpy(&element, x, sizeof(S));
        if constexpr (sizeof(S) == 2)
            return static_cast<double>(load_first(&element, 1)[0]);
        else
            return static_cast<double>(element);
    }

    void weigh(double temperature) {
        Vector<double> max = load(turned[0]);
        for (size_t i = 1; i < length; ++i) max = maximum(load(turned[i]), max);
        all = Vector<double>{};
        const Weigher weigher(temperature);
        for (size_t i = 0; i < length; ++i) store(turned[i], all += weigher.weight(load(turned[i]), max));
    }

    Bits<double> places_of(Vector<double> number) const {
        const Vector<double> target = number * all;
        Bits<double> place{};
        for (size_t i = 0; i < length; ++i) {
            const Vector<double> sum = load(turned[i]);
            place -= (sum <= target) & (sum < all);  // true is -1
        }
        return place;
    }

    void draw(int64_t *draws, size_t step, size_t draw_count, size_t count) const {
        for (size_t k = 0; k < draw_count; ++k, draws += step) {
            Vector<double> number{};
            std::memcpy(&number, draws, count * sizeof(double));
            const Bits<double> place = places_of(number);
            std::memcpy(draws, &place, count * sizeof(int64_t));
        }
    }
};

template <class S>
void draw_short_rows(const DrawnRows &rows, double temperature, int64_t *draws, size_t step, size_t draw_count) {
    constexpr size_t W = Lanes<double>::count;
    for (size_t first = 0; first < rows.count; first += W) {
        const size_t count = rows.count - first < W ? rows.count - first : W;
        ShortTask task;
        task.read<S>(rows, first, count);
        task.weigh(temperature);
        task.draw(draws + first, step, draw_count, count);
    }
}

}  // namespace stablesoftmax::LEVEL
