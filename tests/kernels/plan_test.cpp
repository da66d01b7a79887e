// Arrays of any shape and strides through `run`: the bits of each row on its own.
#include "plan.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "batch.hpp"
#include "check.hpp"
#include "parallel.hpp"

using namespace stablesoftmax;

namespace {

using Random = std::mt19937_64;

size_t below(Random &random, size_t end) { return random() % end; }

// An array in memory of its own: the axes in any order, some of them backwards or with gaps, and where
// `may_repeat`, some with a stride of zero.
struct Array {
    std::vector<size_t> shape;
    std::vector<ptrdiff_t> strides;
    Bytes memory;
    size_t origin = 0;

    Array(const std::vector<size_t> &shape, size_t item, bool may_repeat, Random &random)
        : shape(shape), strides(shape.size()) {
        std::vector<size_t> order(shape.size());
        std::iota(order.begin(), order.end(), 0);
        if (below(random, 2)) std::shuffle(order.begin(), order.end(), random);
        ptrdiff_t stride = static_cast<ptrdiff_t>(item);
        for (size_t k = order.size(); k-- > 0;) {
            const size_t d = order[k], extent = shape[d] ? shape[d] - 1 : 0;
            if (may_repeat && below(random, 6) == 0) continue;
            if (below(random, 6) == 0) stride *= 2;
            strides[d] = stride;
            if (below(random, 6) == 0) {
                strides[d] = -stride;
                origin += extent * static_cast<size_t>(stride);
            }
            stride *= static_cast<ptrdiff_t>(extent + 1);
        }
        memory.assign(static_cast<size_t>(stride), '\xa5');
    }
    char *at(const std::vector<size_t> &index) {
        ptrdiff_t offset = static_cast<ptrdiff_t>(origin);
        for (size_t d = 0; d < index.size(); ++d) offset += static_cast<ptrdiff_t>(index[d]) * strides[d];
        return memory.data() + offset;
    }
};

// Call f(index) for all of `shape` in C order.
template <class Function>
void for_indices(const std::vector<size_t> &shape, Function f) {
    const size_t size = std::accumulate(shape.begin(), shape.end(), size_t{1}, std::multiplies<>());
    std::vector<size_t> index(shape.size());
    for (size_t k = 0; k < size; ++k) {
        for (size_t rest = k, d = shape.size(); d-- > 0; rest /= shape[d]) index[d] = rest % shape[d];
        f(index);
    }
}

// A call drawn at random.
struct Call {
    const Kernels &kernels;
    Operation operation;
    Format format;
    Undefined undefined;
    std::vector<size_t> batch, full;  // shapes
    size_t length;
    Array x, y, where, temperature;
    bool has_where, has_temperature, in_place;

    Call(const Kernels &kernels, std::vector<size_t> batch, size_t length, Random &random)
        : kernels(kernels), operation(static_cast<Operation>(below(random, operations))),
          format(static_cast<Format>(below(random, formats))), undefined(static_cast<Undefined>(below(random, 3))),
          batch(batch), full(joined(batch, length)), length(length), x(full, item_size(format), true, random),
          y(operation == Operation::logsumexp ? batch : full, item_size(format), false, random),
          where(full, 1, true, random), temperature(batch, sizeof(double), true, random),
          has_where(below(random, 3) == 0), has_temperature(operation != Operation::logsumexp && below(random, 3) == 0),
          in_place(operation != Operation::logsumexp && below(random, 4) == 0) {
        if (in_place) x = y;
        for_indices(full, [&](const auto &index) {
            const double value = below(random, 500) ? std::normal_distribution<double>()(random) : INFINITY;
            reference::encode(format, reference::rounded(format, value), x.at(index));
            *where.at(index) = below(random, 5) > 0;
        });
        const double temperatures[] = {0, 0.1, 1, 3, INFINITY};
        for_indices(batch, [&](const auto &index) {
            std::memcpy(temperature.at(index), &temperatures[below(random, 5)], sizeof(double));
        });
    }

    static std::vector<size_t> joined(std::vector<size_t> batch, size_t length) {
        batch.push_back(length);
        return batch;
    }

    Job job() {
        Job job{};
        job.operation = operation;
        job.format = format;
        job.undefined = undefined;
        Array &out = in_place ? x : y;
        job.x = x.memory.data() + x.origin;
        job.y = out.memory.data() + out.origin;
        job.where = has_where ? where.memory.data() + where.origin : nullptr;
        job.temperature = has_temperature ? temperature.memory.data() + temperature.origin : nullptr;
        job.length = length;
        job.dimensions = static_cast<int>(batch.size());
        job.x_step = x.strides.back();
        job.y_step = operation == Operation::logsumexp ? 0 : out.strides.back();
        job.where_step = where.strides.back();
        for (size_t d = 0; d < batch.size(); ++d) {
            job.shape[d] = batch[d];
            job.x_stride[d] = x.strides[d];
            job.y_stride[d] = out.strides[d];
            job.where_stride[d] = where.strides[d];
            job.temperature_stride[d] = temperature.strides[d];
        }
        return job;
    }

    // Of one row: its results, by the kernel for single rows.
    Bytes row(std::vector<size_t> index) {
        double t = 1;
        if (has_temperature) std::memcpy(&t, temperature.at(index), sizeof t);
        index.push_back(0);
        const ptrdiff_t item = static_cast<ptrdiff_t>(item_size(format));
        Bytes results((operation == Operation::logsumexp ? 1 : length) * item_size(format));
        const Row row{x.at(index), x.strides.back(), results.data(), item, has_where ? where.at(index) : nullptr,
                      where.strides.back(), t, length};
        Context context;
        context.undefined = undefined;
        kernels.row[static_cast<size_t>(operation)][static_cast<size_t>(format)](row, context);
        return results;
    }

    // What memory must hold afterwards.
    Bytes expected() {
        Array result = in_place ? x : y;
        const size_t item = item_size(format);
        for_indices(batch, [&](std::vector<size_t> index) {
            const Bytes values = row(index);
            const char *value = values.data();
            if (operation == Operation::logsumexp) return std::memcpy(result.at(index), value, item), void();
            index.push_back(0);
            for (size_t &i = index.back(); i < length; ++i, value += item) std::memcpy(result.at(index), value, item);
        });
        return result.memory;
    }

    void test(size_t threads) {
        const Bytes before = x.memory, wanted = expected();
        Job call = job();
        set_thread_count(threads);
        CHECK(run(kernels, call, nullptr), "stopped");
        CHECK((in_place ? x : y).memory == wanted, "other bits, %zu threads", threads);
        if (!in_place) CHECK(x.memory == before, "x was written");
    }
};

const char *described(const Call &call) {
    int at = std::snprintf(scene, sizeof scene, "%s %s %s%s%s%s (", call.kernels.name,
                           operation_names[static_cast<size_t>(call.operation)],
                           format_names[static_cast<size_t>(call.format)], call.has_where ? ", mask" : "",
                           call.has_temperature ? ", temperature" : "", call.in_place ? ", in place" : "");
    for (size_t n : call.full) at += std::snprintf(scene + at, sizeof scene - static_cast<size_t>(at), " %zu", n);
    return scene;
}

void test_shapes(const Kernels &kernels, size_t rounds) {
    Random random(11);
    for (size_t k = 0; k < rounds; ++k) {
        std::vector<size_t> batch(below(random, 4));
        for (size_t &n : batch) n = below(random, 8) ? 1 + below(random, 9) : below(random, 2);
        Call call(kernels, batch, below(random, 8) ? below(random, 40) : 0, random);
        described(call);
        call.test(1);
    }
    // Large enough for threads: many rows, many columns, few rows that are cut.
    for (size_t k = 0; k < rounds / 300; ++k)
        for (auto [batch, length] : {std::pair<std::vector<size_t>, size_t>{{30, 50}, 50},
                                     {{3, 200}, 150},
                                     {{2}, 140001},
                                     {{}, 131072}}) {
            Call call(kernels, batch, length, random);
            described(call);
            if (call.in_place) continue;  // once: it is no longer the same x
            for (size_t threads : {1, 2, 7}) call.test(threads);
        }
}

// A contiguous array by its three sizes.
void test_slabs(const Kernels &kernels) {
    Random random(12);
    for (size_t k = 0; k < 600; ++k) {
        const Slab slab{1 + below(random, 4), 1 + below(random, 20), 1 + below(random, 40)};
        const Operation operation = static_cast<Operation>(k % operations);
        const Format format = static_cast<Format>(k / operations % formats);
        const size_t item = item_size(format);
        const bool reduces = operation == Operation::logsumexp;
        std::snprintf(scene, sizeof scene, "%s %s %s slab (%zu, %zu, %zu)", kernels.name,
                      operation_names[static_cast<size_t>(operation)], format_names[static_cast<size_t>(format)],
                      slab.outer, slab.length, slab.inner);
        Bytes x(slab.outer * slab.length * slab.inner * item);
        for (size_t i = 0; i < x.size(); i += item)
            reference::encode(format, reference::rounded(format, std::normal_distribution<double>()(random)), &x[i]);
        const size_t results = reduces ? x.size() / slab.length : x.size();
        Bytes wanted(results), small(results), large(results);
        for (size_t o = 0; o < slab.outer; ++o)
            for (size_t i = 0; i < slab.inner; ++i) {
                const ptrdiff_t step = static_cast<ptrdiff_t>(slab.inner * item);
                const char *from = x.data() + (o * slab.length * slab.inner + i) * item;
                char *to = wanted.data() + (o * (reduces ? 1 : slab.length) * slab.inner + i) * item;
                kernels.row[k % operations][k / operations % formats](
                    {from, step, to, step, nullptr, 0, 1, slab.length}, Context{});
            }
        run_small(kernels, operation, format, x.data(), small.data(), slab);
        CHECK(run_large(kernels, operation, format, x.data(), large.data(), slab, nullptr), "stopped");
        CHECK(small == wanted, "run_small: other bits");
        CHECK(large == wanted, "run_large: other bits");
    }
}

void test_first_undefined(const Kernels &kernels) {
    Random random(13);
    std::snprintf(scene, sizeof scene, "%s first_undefined", kernels.name);
    for (size_t k = 0; k < 300; ++k) {
        Call call(kernels, {3, 4}, 1 + below(random, 6), random);
        // Rows of nothing but infinities of one sign, finite numbers, or a NaN.
        for_indices(call.full, [&](const auto &index) {
            const double values[] = {1, INFINITY, -INFINITY, NAN, 2};
            const double value = values[(index[0] * 4 + index[1] + k) * 7 % 11 % 5];
            reference::encode(call.format, below(random, 4) ? value : -INFINITY, call.x.at(index));
        });
        ptrdiff_t wanted = -1, row = 0;
        for_indices(call.batch, [&](std::vector<size_t> index) {
            index.push_back(0);
            size_t included = 0, infinite = 0, nothing = 0, nans = 0;
            for (size_t &i = index.back(); i < call.length; ++i) {
                if (call.has_where && !*call.where.at(index)) continue;
                const double value = reference::decode(call.format, call.x.at(index));
                ++included, infinite += value == INFINITY, nothing += value == -INFINITY, nans += value != value;
            }
            const bool undefined = !nans && (infinite > 1 || (included && nothing == included));
            if (undefined && wanted < 0) wanted = row;
            ++row;
        });
        const ptrdiff_t found = first_undefined(kernels, call.job());
        CHECK(found == wanted, "%td, not %td", found, wanted);
    }
}

// A long call asks whether to go on, and stops when told to.
void test_poll(const Kernels &kernels) {
    std::snprintf(scene, sizeof scene, "%s poll", kernels.name);
    Batch batch(Format::float16, 5, 1 << 23);
    static size_t asked;
    Bytes y(result_bytes(Operation::logsumexp, batch));
    for (bool stop : {true, false}) {
        asked = 0;
        Job job = contiguous_job(Operation::logsumexp, batch, y.data());
        set_thread_count(2);
        const bool finished = stop ? run(kernels, job, [] { return ++asked < 1; }) : run(kernels, job, [] { return ++asked > 0; });
        CHECK(finished != stop, "finished: %d", finished);
        CHECK(asked == (stop ? 1 : 2), "asked %zu times", asked);
    }
}

}  // namespace

// `plan small`, `plan emulated`: less of it.
int main(int count, char **) {
    const bool small = count > 1;
    for_levels([&](const Kernels &kernels) {
        test_shapes(kernels, small ? 300 : 3000);
        test_slabs(kernels);
        test_first_undefined(kernels);
        if (!small) test_poll(kernels);
    });
    return report();
}
