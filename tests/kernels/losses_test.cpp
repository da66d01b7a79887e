// The kernels of the losses, the scan, the entropy, the divergence and the products: against long double, between fences, and
// by other steps.
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

// What a row is held against, in memory of its own.
struct Question {
    size_t length;
    ptrdiff_t label;
    Fenced targets, weight;
    bool soft, weighted;
    double smoothing, scale;

    Question(size_t length, Random &random)
        : length(length), label(static_cast<ptrdiff_t>(draw_label(length, random))), targets(length * 8),
          weight(length * 8), soft(random() % 2), weighted(random() % 2), smoothing(random() % 2 ? 0.1 : 0),
          scale(random() % 2 ? 0.3 : 1) {
        std::uniform_real_distribution<double> any(0, 2);
        for (size_t c = 0; c < length; ++c) {
            const double t = random() % 4 ? any(random) : 0, w = any(random);
            std::memcpy(targets.at + c * 8, &t, 8);
            std::memcpy(weight.at + c * 8, &w, 8);
        }
    }

    // Anywhere, or at the end of a block.
    static size_t draw_label(size_t length, Random &random) {
        constexpr size_t ends[] = {0, 4095, 4096, 8191};
        const size_t any = random() % length, end = ends[random() % 4];
        return random() % 2 && end < length ? end : any;
    }

    Target target() const {
        Target t;
        if (soft) t.targets = targets.at, t.target_step = 8;
        else t.label = label;
        if (weighted) t.weight = reinterpret_cast<const double *>(weight.at);
        t.smoothing = smoothing, t.scale = scale;
        return t;
    }

    Real q(size_t c) const {
        double t, w;
        std::memcpy(&t, targets.at + c * 8, 8);
        std::memcpy(&w, weight.at + c * 8, 8);
        const Real given = soft ? t : static_cast<ptrdiff_t>(c) == label;
        return ((1 - Real(smoothing)) * given + Real(smoothing) / static_cast<Real>(length)) * (weighted ? w : 1);
    }
};

Real exact_loss(const reference::Results &results, const Question &question) {
    reference::Sum sum;
    bool infinite = false, undefined = false;
    for (size_t c = 0; c < question.length; ++c) {
        const Real q = question.q(c), cost = -results.log_softmax[c];
        undefined |= std::isnan(cost) && q > 0;
        infinite |= std::isinf(cost) && q > 0;
        if (q > 0 && std::isfinite(cost)) sum.add(q * cost);
    }
    return undefined ? reference::nan : infinite ? reference::infinity : sum.value();
}

void test_loss(const Kernels &kernels, const Batch &batch, size_t r, Random &random) {
    const size_t item = batch.item(), bytes = batch.length * item;
    const Question question(batch.length, random);
    const Target target = question.target();
    const Fenced x(batch.at(r), bytes), gradient(bytes);
    const ptrdiff_t step = static_cast<ptrdiff_t>(item);
    const Row row{x.at, step, gradient.at, step, nullptr, 0, 1, batch.length};
    const double loss = kernels.loss[place(batch.format)](row, target, Context{});

    const std::vector<double> values = batch.row(r);
    const auto exact = reference::exact(values, std::vector<char>(batch.length, 1), 1, Undefined::nan);
    const bool has_nan = std::any_of(values.begin(), values.end(), [](double v) { return v != v; });
    const Real wanted = has_nan ? reference::nan : exact_loss(exact, question);
    // The loss is a double, whatever the format.
    const double rounded = reference::rounded(batch.format, loss);
    const double limit = item == 2 ? 0.51 : 1.5;
    if (r != huge || batch.format != Format::float64)
        CHECK(reference::ulps(batch.format, rounded, wanted) <= limit, "loss %g, not %Lg", loss, wanted);

    // Without a gradient, and with gaps between the elements: the same bits.
    Row alone = row;
    alone.y = nullptr;
    const double again = kernels.loss[place(batch.format)](alone, target, Context{});
    CHECK(!std::memcmp(&again, &loss, 8) || (again != again && loss != loss), "alone %g, not %g", again, loss);
    Bytes gaps(2 * bytes), result(2 * bytes);
    for (size_t i = 0; i < batch.length; ++i) std::memcpy(&gaps[2 * i * item], batch.at(r, i), item);
    const Row apart{gaps.data(), 2 * step, result.data(), 2 * step, nullptr, 0, 1, batch.length};
    const double far = kernels.loss[place(batch.format)](apart, target, Context{});
    CHECK(!std::memcmp(&far, &loss, 8) || (far != far && loss != loss), "apart %g, not %g", far, loss);
    for (size_t i = 0; i < batch.length; ++i)
        CHECK(!std::memcmp(&result[2 * i * item], gradient.at + i * item, item), "gradient of %zu apart", i);

    // The gradient: Q·p - q.
    Real all = 0;
    for (size_t c = 0; c < batch.length; ++c) all += question.scale * question.q(c);
    for (size_t c = 0; c < batch.length; ++c) {
        const Real q = question.scale * question.q(c), p = exact.softmax[c];
        const double got = reference::decode(batch.format, gradient.at + c * item);
        if (std::isnan(p)) {
            CHECK(std::isnan(got), "gradient %zu: %g, not NaN", c, got);
            continue;
        }
        // Below the smallest subnormal p is 0, whatever it is multiplied by.
        const Real size = std::max(reference::unit(batch.format, q), reference::unit(batch.format, all * p));
        const Real lost = all * reference::unit(batch.format, 0);
        CHECK(std::fabs(got - (all * p - q)) <= 6 * size + lost, "gradient %zu: %g, not %Lg", c, got, all * p - q);
    }

    // Nothing is asked of an ignored row.
    CHECK(kernels.loss[place(batch.format)](row, Target{}, Context{}) == 0, "ignored");
    for (size_t c = 0; c < batch.length; ++c)
        CHECK(reference::decode(batch.format, gradient.at + c * item) == 0, "ignored gradient");
}

// The maximum, and the label with it, at the ends of blocks: the gradient is -Q·(1 - p) there, which a
// difference of p and 1 would make 0.
void test_places(const Kernels &kernels, Format format) {
    constexpr size_t length = 9000;
    const Real r = (length - 1) * std::exp(Real(-60));
    Batch batch(format, 1, length);
    Target target;
    target.scale = 0.3;
    const ptrdiff_t step = static_cast<ptrdiff_t>(batch.item());
    for (size_t place : {0, 4095, 4096, 8191, 8999})
        for (bool soft : {false, true}) {
            for (size_t i = 0; i < length; ++i) reference::encode(format, i == place ? 0 : -60, batch.at(0, i));
            std::vector<double> labels(length);
            labels[place] = 1;
            target.label = soft ? -1 : static_cast<ptrdiff_t>(place);
            target.targets = soft ? reinterpret_cast<const char *>(labels.data()) : nullptr, target.target_step = 8;
            Bytes gradient(length * batch.item());
            const Row row{batch.at(0), step, gradient.data(), step, nullptr, 0, 1, length};
            const double loss = kernels.loss[::place(format)](row, target, Context{});
            const double rounded = reference::rounded(format, loss), limit = step == 2 ? 0.51 : 1.5;
            CHECK(reference::ulps(format, rounded, r) <= limit, "%zu: loss %g, not %Lg", place, loss, r);
            const double got = reference::decode(format, &gradient[place * batch.item()]);
            CHECK(reference::ulps(format, got, -target.scale * r) <= 4, "%zu: gradient %g, not %Lg", place, got, -r);
        }
}

// A subnormal probability that a weight makes a normal gradient: with all its digits.
void test_large_weight(const Kernels &kernels, Format format) {
    const double depth = format == Format::float64 ? 720 : 92;
    Batch batch(format, 1, 20);
    for (size_t i = 0; i < 20; ++i) reference::encode(format, i ? -depth : 0, batch.at(0, i));
    const std::vector<double> weight(20, 0x1p20);
    Target target;
    target.label = 0, target.weight = weight.data();
    const ptrdiff_t step = static_cast<ptrdiff_t>(batch.item());
    Bytes gradient(20 * batch.item());
    kernels.loss[place(format)]({batch.at(0), step, gradient.data(), step, nullptr, 0, 1, 20}, target, Context{});
    const double got = reference::decode(format, &gradient[7 * batch.item()]);
    CHECK(reference::ulps(format, got, 0x1p20 * std::exp(Real(-depth))) <= 4, "gradient %g", got);
}

// A masked class takes no part: the rest has the loss that it would have alone.
void test_mask(const Kernels &kernels, const Batch &batch, size_t r) {
    const size_t item = batch.item(), half = batch.length / 2;
    const ptrdiff_t step = static_cast<ptrdiff_t>(item);
    if (half == 0) return;
    Bytes where(batch.length), gradient(batch.length * item, '\x55');
    std::fill(where.begin(), where.begin() + static_cast<ptrdiff_t>(half), '\1');
    Target target;
    target.label = static_cast<ptrdiff_t>(half - 1);
    target.smoothing = 0.25;
    const Row masked{batch.at(r), step, gradient.data(), step, where.data(), 1, 1, batch.length};
    const Row half_row{batch.at(r), step, nullptr, 0, nullptr, 0, 1, half};
    const double loss = kernels.loss[place(batch.format)](masked, target, Context{});
    const double wanted = kernels.loss[place(batch.format)](half_row, target, Context{});
    const bool same = loss == wanted || (loss != loss && wanted != wanted);
    // The two begin at different guesses of their maximum: sums for 16 bits are right to 2^-21, of floats to 2^-38.
    const double rounding = item == 2 ? 0x1p-20 : item == 4 ? 0x1p-37 : 1e-13;
    CHECK(same || std::fabs(loss - wanted) <= rounding * std::fabs(wanted), "masked %g, not %g", loss, wanted);
    for (size_t c = half; c < batch.length; ++c)
        CHECK(reference::decode(batch.format, &gradient[c * item]) == 0, "gradient of a masked class");
}

// The very bits of log_softmax.
void test_select(const Kernels &kernels, const Batch &batch, size_t r, Random &random) {
    const size_t item = batch.item(), bytes = batch.length * item;
    const ptrdiff_t step = static_cast<ptrdiff_t>(item);
    const Fenced x(batch.at(r), bytes);
    std::vector<int64_t> index(5);
    for (int64_t &i : index) i = static_cast<int64_t>(random() % batch.length);
    for (double temperature : {1.0, 0.7, 0.0}) {
        Bytes whole(bytes);
        const Fenced some(index.size() * item);
        const Row row{x.at, step, whole.data(), step, nullptr, 0, temperature, batch.length};
        kernels.row[static_cast<size_t>(Operation::log_softmax)][place(batch.format)](row, Context{});
        Row chosen = row;
        chosen.y = some.at;
        kernels.select[place(batch.format)](chosen, index.data(), index.size(), Context{});
        for (size_t k = 0; k < index.size(); ++k)
            CHECK(!std::memcmp(some.at + k * item, &whole[static_cast<size_t>(index[k]) * item], item),
                  "element %lld at temperature %g", static_cast<long long>(index[k]), temperature);
    }
}

// Each prefix is a row of its own.
void test_scan(const Kernels &kernels, const Batch &batch, size_t r) {
    const size_t item = batch.item(), bytes = batch.length * item;
    const ptrdiff_t step = static_cast<ptrdiff_t>(item);
    const Fenced x(batch.at(r), bytes), y(bytes);
    kernels.cumulate[place(batch.format)]({x.at, step, y.at, step, nullptr, 0, 1, batch.length}, Context{});
    std::vector<double> values = batch.row(r);
    for (size_t end : {size_t{1}, batch.length / 3 + 1, batch.length}) {
        const std::vector<double> prefix(values.begin(), values.begin() + static_cast<ptrdiff_t>(end));
        const auto exact = reference::exact(prefix, std::vector<char>(end, 1), 1, Undefined::nan);
        const bool has_nan = std::any_of(prefix.begin(), prefix.end(), [](double v) { return v != v; });
        const Real wanted = has_nan ? reference::nan : exact.logsumexp;
        const double got = reference::decode(batch.format, y.at + (end - 1) * item);
        const double limit = reference::limit(Operation::logsumexp, batch.format, 1, exact.condition);
        // Where they cancel to less than the long double itself is good for, it cannot judge.
        if (exact.condition < 1e3L)
            CHECK(reference::ulps(batch.format, got, wanted) <= limit, "prefix %zu: %g, not %Lg", end, got, wanted);
    }
}

// The entropy against Σ -p·log p, and the divergence of two rows; both read between fences.
void test_information(const Kernels &kernels, const Batch &batch, size_t r) {
    const size_t item = batch.item(), other = (r + 1) % batch.count;
    const Fenced x(batch.at(r), batch.length * item), z(batch.at(other), batch.length * item), y(item);
    const ptrdiff_t step = static_cast<ptrdiff_t>(item);
    const Row p{x.at, step, y.at, step, nullptr, 0, 1, batch.length}, q{z.at, step, nullptr, 0, nullptr, 0, 1, batch.length};
    const std::vector<char> all(batch.length, 1);
    const auto exact = reference::exact(batch.row(r), all, 1, Undefined::nan);
    const auto exact_q = reference::exact(batch.row(other), all, 1, Undefined::nan);
    reference::Sum entropy, divergence;
    bool hollow = false, undefined = false, infinite = false;
    for (size_t c = 0; c < batch.length; ++c) {
        const Real share = exact.softmax[c], log_p = exact.log_softmax[c], log_q = exact_q.log_softmax[c];
        hollow |= std::isnan(share);
        undefined |= hollow || std::isnan(log_q);
        if (!(share > 0)) continue;
        entropy.add(-share * log_p);
        infinite |= std::isinf(log_q);
        if (!std::isinf(log_q)) divergence.add(share * (log_p - log_q));
    }
    kernels.entropy[place(batch.format)](p, Context{});
    const double got = reference::decode(batch.format, y.at);
    const Real wanted = hollow ? reference::nan : entropy.value();
    if (!(wanted < 1e-300L && wanted > 0))
        CHECK(reference::ulps(batch.format, got, wanted) <= 6, "entropy: %g, not %Lg", got, wanted);
    kernels.divergence[place(batch.format)](p, q, Context{});
    const double apart = reference::decode(batch.format, y.at);
    if (undefined)
        CHECK(std::isnan(apart), "divergence: %g, not NaN", apart);
    else if (!infinite && divergence.value() > 1e-3L)  // below, Σ p·log p cancels in long double, too
        CHECK(reference::ulps(batch.format, apart, divergence.value()) <= 100, "divergence: %g, not %Lg", apart,
              divergence.value());
}

// What one row of a product should be, and the size of the terms that make it up.
struct ExactProduct {
    std::vector<Real> value, size;

    ExactProduct(Product product, const reference::Results &results, const std::vector<Real> &v) {
        reference::Sum mean, sizes, sum, all;
        for (size_t i = 0; i < v.size(); ++i) {
            const Real p = results.softmax[i];
            mean.add(p * v[i]), sizes.add(p * std::fabs(v[i])), sum.add(v[i]), all.add(std::fabs(v[i]));
        }
        for (size_t i = 0; i < v.size(); ++i) {
            const Real p = results.softmax[i], gap = v[i] - mean.value(), spread = std::fabs(v[i]) + sizes.value();
            if (p == 0 && product != Product::log_softmax && product != Product::logsumexp) {  // beside several +inf, too
                const Real alone = product == Product::log_softmax_transposed ? v[i] : 0;
                add(alone, std::fabs(alone));
                continue;
            }
            switch (product) {
                case Product::softmax: add(p * gap, p * spread); break;
                case Product::log_softmax: add(gap, spread); break;
                case Product::log_softmax_transposed: add(v[i] - p * sum.value(), std::fabs(v[i]) + p * all.value()); break;
                case Product::logsumexp: add(mean.value(), sizes.value()); break;
                case Product::logsumexp_transposed: add(p * v[i], p * std::fabs(v[i])); break;
            }
        }
    }
    void add(Real one, Real its_size) { value.push_back(one), size.push_back(its_size); }
};

// Rows apart by more than their length, or side by side as columns; whatever the layout, the same bits.
void test_product(const Kernels &kernels, const Batch &batch, Product product, Random &random) {
    const size_t item = batch.item(), n = batch.length, rows = batch.count;
    const ptrdiff_t step = static_cast<ptrdiff_t>(item), count = static_cast<ptrdiff_t>(rows);
    const bool reduces = product == Product::logsumexp;
    const Format v_format = static_cast<Format>(random() % formats);
    const size_t v_item = item_size(v_format);
    const ptrdiff_t v_step = static_cast<ptrdiff_t>(v_item);
    const Fenced v(rows * n * v_item), turned_v(rows * n * v_item), x(rows * n * item), turned(rows * n * item);
    const Fenced y(rows * n * item), y_turned(rows * n * item);
    std::vector<Real> numbers(rows * n);
    std::normal_distribution<double> normal;
    for (size_t k = 0; k < rows * n; ++k) {
        reference::encode(v_format, normal(random), v.at + k * v_item);
        numbers[k] = reference::decode(v_format, v.at + k * v_item);
    }
    for (size_t r = 0; r < rows; ++r)
        for (size_t i = 0; i < n; ++i) {
            std::memcpy(x.at + (r * n + i) * item, batch.at(r) + i * item, item);
            std::memcpy(turned.at + (i * rows + r) * item, batch.at(r) + i * item, item);
            std::memcpy(turned_v.at + (i * rows + r) * v_item, v.at + (r * n + i) * v_item, v_item);
        }
    const ptrdiff_t pitch = static_cast<ptrdiff_t>(n);
    const ProductRows lines{x.at, step, pitch * step, v.at, v_step, pitch * v_step, v_format, y.at, step, reduces ? step : pitch * step,
                            nullptr, 0, 0, nullptr, 0, n};
    const ProductRows columns{turned.at, count * step, step, turned_v.at, count * v_step, v_step, v_format, y_turned.at,
                              count * step, step, nullptr, 0, 0, nullptr, 0, n};
    const Multiply multiply = kernels.multiply[static_cast<size_t>(product)][place(batch.format)];
    std::vector<char> memory(cached_bytes);
    multiply(lines, rows, Context{Undefined::nan, 1, memory.data()});
    multiply(columns, rows, Context{});
    for (size_t r = 0; r < rows; ++r) {
        const std::vector<char> all(n, 1);
        const std::vector<Real> vector(numbers.begin() + static_cast<ptrdiff_t>(r * n), numbers.begin() + static_cast<ptrdiff_t>((r + 1) * n));
        const ExactProduct exact(product, reference::exact(batch.row(r), all, 1, Undefined::nan), vector);
        for (size_t i = 0; i < (reduces ? 1 : n); ++i) {
            const char *at = y.at + (reduces ? r : r * n + i) * item, *across = y_turned.at + (reduces ? r : i * rows + r) * item;
            const double got = reference::decode(batch.format, at);
            CHECK(!std::memcmp(at, across, item), "product %d, row %zu, %zu: other bits across", static_cast<int>(product), r, i);
            const Real wanted = exact.value[i], allowed = 16 * exact.size[i] * std::ldexp(Real(1), item == 8 ? -53 : item == 4 ? -24 : -10);
            if (std::isnan(wanted)) CHECK(std::isnan(got), "product %d, row %zu, %zu: %g, not NaN", static_cast<int>(product), r, i, got);
            else if (std::fabs(wanted) < 1e30L)
                CHECK(std::fabs(got - wanted) <= allowed + (item == 2 ? 6e-8L : 1e-37L), "product %d, row %zu, %zu: %g, not %Lg", static_cast<int>(product), r, i, got, wanted);
        }
    }
}

// log|Σ b·exp(x)| of weights without a sign; the same bits along rows and across columns.
void test_weighted(const Kernels &kernels, const Batch &batch, Random &random) {
    const size_t item = batch.item(), n = batch.length, rows = batch.count;
    const ptrdiff_t step = static_cast<ptrdiff_t>(item), count = static_cast<ptrdiff_t>(rows), pitch = static_cast<ptrdiff_t>(n);
    const Fenced x(rows * n * item), turned(rows * n * item), b(n * 8), y(item), y_turned(rows * item);
    std::uniform_real_distribution<double> any(0.5, 2);
    std::vector<double> weights(n);
    for (double &w : weights) w = any(random);
    std::memcpy(b.at, weights.data(), n * 8);
    for (size_t r = 0; r < rows; ++r)
        for (size_t i = 0; i < n; ++i) {
            std::memcpy(x.at + (r * n + i) * item, batch.at(r) + i * item, item);
            std::memcpy(turned.at + (i * rows + r) * item, batch.at(r) + i * item, item);
        }
    const Weigh weigh = kernels.weigh[place(batch.format)];
    for (size_t r = 0; r < rows; ++r) {
        const ProductRows line{x.at + r * n * item, step, pitch * step, b.at, 8, 0, Format::float64, y.at, 0, step, nullptr, 0, 0, nullptr, 0, n};
        Real top = -HUGE_VALL, sum = 0;
        bool finite = true;
        for (size_t i = 0; i < n; ++i) {
            const Real v = reference::decode(batch.format, batch.at(r, i));
            finite &= std::isfinite(v) || v == -HUGE_VALL;
            if (v > top) top = v;
        }
        const bool settled = weigh(line, 1, Context{});
        CHECK(settled == finite, "row %zu: the kernel says %d", r, settled);
        if (!settled) continue;
        for (size_t i = 0; i < n && std::isfinite(top); ++i)
            sum += weights[i] * std::exp(Real(reference::decode(batch.format, batch.at(r, i))) - top);
        const Real wanted = std::isfinite(top) ? top + std::log(sum) : top;
        const double got = reference::decode(batch.format, y.at);
        const Real allowed = (2 + std::fabs(top)) * std::ldexp(Real(1), item == 8 ? -50 : item == 4 ? -21 : -8);
        if (!std::isfinite(wanted)) CHECK(got == wanted, "weighted, row %zu: %g, not %Lg", r, got, wanted);
        else if (std::fabs(wanted) < 60000) CHECK(std::fabs(got - wanted) <= allowed, "weighted, row %zu: %g, not %Lg", r, got, wanted);
        const ProductRows column{turned.at + r * item, count * step, step, b.at, 8, 0, Format::float64, y_turned.at, 0, step, nullptr, 0, 0, nullptr, 0, n};
        if (weigh(column, std::min<size_t>(rows - r, 3), Context{}))
            CHECK(!std::memcmp(y.at, y_turned.at, item), "weighted, row %zu: other bits across", r);
    }
}

}  // namespace

// `losses small`, `losses emulated`: fewer lengths.
int main(int count, char **) {
    std::vector<size_t> lengths{1, 2, 7, 16, 33, 300};
    if (count <= 1) lengths.insert(lengths.end(), {4096, 4097, 9000});
    for_levels([&](const Kernels &kernels) {
        Random random(5);
        for (size_t f = 0; f < formats; ++f) {
            std::snprintf(scene, sizeof scene, "%s %s", kernels.name, format_names[f]);
            test_places(kernels, static_cast<Format>(f));
            test_large_weight(kernels, static_cast<Format>(f));
            for (size_t length : lengths) {
                const Batch batch = batch_of_families(static_cast<Format>(f), length, random);
                for (size_t k = 0; k < products; ++k) test_product(kernels, batch, static_cast<Product>(k), random);
                test_weighted(kernels, batch, random);
                for (size_t r = 0; r < batch.count; ++r) {
                    std::snprintf(scene, sizeof scene, "%s %s, family %zu of %zu", kernels.name, format_names[f], r, length);
                    for (int k = 0; k < 4; ++k) test_loss(kernels, batch, r, random);
                    test_mask(kernels, batch, r);
                    test_select(kernels, batch, r, random);
                    test_scan(kernels, batch, r);
                    test_information(kernels, batch, r);
                }
            }
        }
    });
    return report();
}
