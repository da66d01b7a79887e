// The kernels of draws: against the distribution in long double, between fences, short rows against single ones.
#include <algorithm>
#include <cstring>

#include "batch.hpp"
#include "check.hpp"
#include "fence.hpp"

using namespace stablesoftmax;

namespace {

using Random = std::mt19937_64;
using reference::Real;

size_t place(Format format) { return static_cast<size_t>(format); }

// What is drawn from a row, class by class, and 0 for the rest.
std::vector<Real> kept(const std::vector<double> &x, const std::vector<char> &mask, double temperature,
                       const Filter &filter) {
    std::vector<Real> p = reference::exact(x, mask, temperature, Undefined::nan).softmax;
    auto keep_from = [&](const auto &by, auto least) {
        for (size_t i = 0; i < p.size(); ++i)
            if (!(by[i] >= least)) p[i] = 0;
    };
    std::vector<double> logits = x;
    for (size_t i = 0; i < x.size(); ++i)
        if (!mask[i]) logits[i] = -INFINITY;
    if (filter.top_k < x.size()) {
        std::vector<double> falling = logits;
        std::sort(falling.begin(), falling.end(), std::greater<>());
        keep_from(logits, falling[filter.top_k - 1]);
    }
    if (filter.top_p < 1) {
        std::vector<Real> falling = p;
        std::sort(falling.begin(), falling.end(), std::greater<>());
        Real all = 0, sum = 0;
        for (Real share : falling) all += share;
        size_t last = 0;
        while (last + 1 < falling.size() && (sum += falling[last]) < filter.top_p * all) ++last;
        size_t places = last + 1;  // of those that tie for the last ones, the first
        for (Real share : falling) places -= share > falling[last];
        for (Real &share : p)
            if (share <= falling[last] && (share < falling[last] || places == 0))
                share = 0;
            else
                places -= share == falling[last];
    }
    if (filter.min_p > 0) keep_from(p, filter.min_p * *std::max_element(p.begin(), p.end()));
    return p;
}

void put(int64_t *draws, double number) { std::memcpy(draws, &number, sizeof number); }

// Numbers from the middle of each class's share draw all classes in turn.
void test_draws(const Kernels &kernels, const Batch &batch, size_t r, Random &random) {
    const size_t item = batch.item(), n = batch.length;
    Filter filter;
    if (random() % 3 == 0) filter.top_k = 1 + random() % n;
    if (random() % 3 == 0) filter.top_p = 0.001 + 0.998 * std::uniform_real_distribution<double>()(random);
    if (random() % 3 == 0) filter.min_p = 0.3 * std::uniform_real_distribution<double>()(random);
    const double temperature = random() % 2 ? 1 : 0.7;
    const ptrdiff_t step = static_cast<ptrdiff_t>(random() % 2 ? item : 2 * item);
    Fenced x((n - 1) * static_cast<size_t>(step) + item), where(n);
    for (size_t i = 0; i < n; ++i) {
        std::memcpy(x.at + static_cast<ptrdiff_t>(i) * step, batch.at(r, i), item);
        where.at[i] = random() % 4 != 0;
    }
    const bool masked = random() % 2;
    Row row{x.at, step, nullptr, 0, masked ? where.at : nullptr, 1, temperature, n};

    const std::vector<double> values = batch.row(r);
    std::vector<char> mask(n, 1);
    if (masked) std::copy_n(where.at, n, mask.begin());
    size_t peaks = 0, numbers = 0, nans = 0;
    for (size_t i = 0; i < n; ++i) {
        if (!mask[i]) continue;
        peaks += values[i] == INFINITY;
        nans += values[i] != values[i];
        numbers += values[i] > -INFINITY;
    }
    const bool can_draw = nans == 0 && peaks <= 1 && numbers > 0;
    CHECK(kernels.can_draw[place(batch.format)](row) == can_draw, "%zu +inf, %zu NaN, %zu above -inf", peaks, nans,
          numbers);
    if (!can_draw) return;

    const std::vector<Real> p = kept(values, mask, temperature, filter);
    Real all = 0, sum = 0;
    for (Real share : p) all += share;
    std::vector<size_t> classes;
    std::vector<double> middles;
    for (size_t i = 0; i < n; ++i) {
        if (p[i] > 1e-12L * all) classes.push_back(i), middles.push_back(static_cast<double>((sum + p[i] / 2) / all));
        sum += p[i];
    }
    Fenced room(draw_room(n, filter) * sizeof(double));
    for (size_t several : {size_t{1}, classes.size()})  // searched one after another, and by halving
        for (size_t first = 0; first < classes.size(); first += several) {
            if (several == 1 && first > 50) break;
            Fenced draws(several * 2 * sizeof(int64_t));
            auto *number = reinterpret_cast<int64_t *>(draws.at);
            for (size_t k = 0; k < several; ++k) put(number + 2 * k, middles[first + k]);
            kernels.draw[place(batch.format)](row, filter, number, 2, several, reinterpret_cast<double *>(room.at));
            for (size_t k = 0; k < several; ++k)
                CHECK(number[2 * k] == static_cast<int64_t>(classes[first + k]), "draw %lld, not %zu; k %zu p %g m %g",
                      static_cast<long long>(number[2 * k]), classes[first + k], filter.top_k, filter.top_p, filter.min_p);
        }
    for (double number : {0.0, 0x1.fffffffffffffp-1, 1.0, -1.0, static_cast<double>(NAN)}) {
        int64_t draw;
        put(&draw, number);
        kernels.draw[place(batch.format)](row, filter, &draw, 1, 1, reinterpret_cast<double *>(room.at));
        CHECK(draw >= 0 && draw < static_cast<int64_t>(n), "%lld at %g", static_cast<long long>(draw), number);
        if (number == 0 || (number > 0 && number < 1))
            CHECK(mask[static_cast<size_t>(draw)] && values[static_cast<size_t>(draw)] > -INFINITY, "%lld at %g",
                  static_cast<long long>(draw), number);
    }
}

// As many short rows as there are: each has the draws that it has alone.
void test_short_rows(const Kernels &kernels, Format format, size_t length, Random &random) {
    for (size_t count : {1, 3, 8, 19}) {
        Batch batch(format, count, length);
        for (size_t r = 0; r < count; ++r) fill_row(batch, r, r % 3 ? wide : normal, random);
        const size_t item = batch.item(), bytes = batch.bytes.size(), draws = 3;
        Fenced x(bytes), found(draws * count * sizeof(int64_t));
        std::memcpy(x.at, batch.bytes.data(), bytes);
        auto *number = reinterpret_cast<int64_t *>(found.at);
        std::vector<double> given(draws * count);
        for (double &u : given) u = std::uniform_real_distribution<double>()(random);
        given[0] = 1, given[1] = 0, given[2] = 0x1.fffffffffffffp-1;
        for (double temperature : {1.0, 0.3, 0.0, static_cast<double>(INFINITY)}) {
            std::memcpy(number, given.data(), given.size() * sizeof(double));
            const ptrdiff_t step = static_cast<ptrdiff_t>(item), stride = step * static_cast<ptrdiff_t>(length);
            kernels.draw_short[place(format)]({x.at, stride, step, count, length}, temperature, number, count, draws);
            std::vector<double> room(draw_room(length, Filter{}));
            for (size_t r = 0; r < count; ++r)
                for (size_t k = 0; k < draws; ++k) {
                    int64_t alone;
                    put(&alone, given[k * count + r]);
                    const Row row{batch.at(r), step, nullptr, 0, nullptr, 0, temperature, length};
                    kernels.draw[place(format)](row, Filter{}, &alone, 1, 1, room.data());
                    CHECK(number[k * count + r] == alone, "row %zu draw %zu at %g", r, k, temperature);
                }
        }
    }
}

// A job: the numbers of each row are its own, whatever its layout, its threads and the length of its rows.
void test_job(const Kernels &kernels, size_t length, size_t count, Random &random) {
    Batch batch(Format::float32, count, length);
    for (size_t r = 0; r < count; ++r) fill_row(batch, r, normal, random);
    DrawJob job{};
    job.rows = contiguous_job(Operation::softmax, batch, nullptr);
    job.count = 2;
    std::vector<int64_t> draws(2 * count);
    std::vector<double> numbers(2 * count);
    for (size_t k = 0; k < draws.size(); ++k) put(&draws[k], numbers[k] = std::uniform_real_distribution<double>()(random));
    job.draws = draws.data();
    CHECK(all_can_draw(kernels, job.rows, nullptr), "%zu rows of %zu", count, length);
    CHECK(run_draws(kernels, job, nullptr) == Outcome::finished, "%zu rows of %zu", count, length);
    std::vector<double> room(draw_room(length, Filter{}));
    for (size_t r = 0; r < count; ++r)
        for (size_t k = 0; k < 2; ++k) {
            int64_t alone;
            put(&alone, numbers[k * count + r]);
            const Row row{batch.at(r), 4, nullptr, 0, nullptr, 0, 1, length};
            kernels.draw[place(Format::float32)](row, Filter{}, &alone, 1, 1, room.data());
            CHECK(draws[k * count + r] == alone, "row %zu of %zu", r, count);
        }
    reference::encode(Format::float32, NAN, batch.at(count - 1, length - 1));
    CHECK(!all_can_draw(kernels, job.rows, nullptr), "a NaN in the last of %zu rows of %zu", count, length);
}

}  // namespace

// `draws small`, `draws emulated`: fewer lengths.
int main(int count, char **) {
    std::vector<size_t> lengths{1, 2, 7, 16, 33, 64, 65, 300};
    if (count <= 1) lengths.insert(lengths.end(), {4096, 9000});
    for_levels([&](const Kernels &kernels) {
        Random random(5);
        for (size_t f = 0; f < formats; ++f) {
            const Format format = static_cast<Format>(f);
            for (size_t length : {1, 2, 10, 31, 32}) {
                std::snprintf(scene, sizeof scene, "%s %s, short %zu", kernels.name, format_names[f], length);
                test_short_rows(kernels, format, length, random);
            }
            for (size_t length : lengths) {
                const Batch batch = batch_of_families(format, length, random);
                for (size_t r = 0; r < batch.count; ++r) {
                    std::snprintf(scene, sizeof scene, "%s %s, family %zu of %zu", kernels.name, format_names[f], r, length);
                    for (int k = 0; k < 6; ++k) test_draws(kernels, batch, r, random);
                }
            }
        }
        std::snprintf(scene, sizeof scene, "%s, job", kernels.name);
        test_job(kernels, 10, 10'000, random);
        test_job(kernels, 100, 2'000, random);
        test_job(kernels, 70'000, 3, random);
    });
    return report();
}
