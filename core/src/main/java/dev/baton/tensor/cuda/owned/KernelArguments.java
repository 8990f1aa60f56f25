package dev.baton.tensor.cuda.owned;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.baton.tensor.TensorException;
import dev.baton.tensor.cuda.checked.Cuda;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;

/// The arguments of one kernel in off-heap memory: a slot for each and the table of their addresses that a launch
/// reads. Built once, written anew for each launch; a launch copies them.
///
/// Not thread-safe.
final class KernelArguments {
    private final String kernel;
    private final List<Kernel.Parameter> parameters;
    private final MemorySegment slots; // one behind the other, each aligned to its own size
    private final long[] offsets; // (parameters), of the slots
    private final MemorySegment table; // (parameters) addresses of the slots
    private int next;

    KernelArguments(String kernel, List<Kernel.Parameter> parameters, Arena arena) {
        this.kernel = kernel;
        this.parameters = List.copyOf(parameters);
        this.offsets = new long[parameters.size()];
        long end = 0;
        for (int i = 0; i < offsets.length; i++) {
            long bytes = parameters.get(i).slotBytes();
            offsets[i] = Math.ceilDiv(end, bytes) * bytes;
            end = offsets[i] + bytes;
        }
        this.slots = arena.allocate(Math.max(1, end), Kernel.Parameter.MOST_SLOT_BYTES);
        this.table = arena.allocate(ADDRESS, Math.max(1, parameters.size()));
        for (int i = 0; i < offsets.length; i++) {
            table.setAtIndex(ADDRESS, i, slots.asSlice(offsets[i]));
        }
    }

    void begin() {
        next = 0;
    }

    void add(long value) {
        slots.set(JAVA_LONG, slot(Kernel.Parameter.LONG), value);
    }

    void add(int value) {
        slots.set(JAVA_INT, slot(Kernel.Parameter.INT), value);
    }

    void add(float value) {
        slots.set(JAVA_FLOAT, slot(Kernel.Parameter.FLOAT), value);
    }

    /// @param map of the size of a `CUtensorMap`, copied
    void add(MemorySegment map) {
        MemorySegment.copy(map, 0, slots, slot(Kernel.Parameter.TENSOR_MAP), Cuda.TENSOR_MAP_BYTES);
    }

    private long slot(Kernel.Parameter given) {
        if (next >= parameters.size() || parameters.get(next) != given) {
            throw new TensorException("argument " + next + " of the kernel " + kernel + " is given as " + given
                    + "; its parameters are " + parameters);
        }
        return offsets[next++];
    }

    /// What a launch reads.
    ///
    /// @throws TensorException if arguments are missing
    MemorySegment complete() {
        if (next != parameters.size()) {
            throw new TensorException(
                    "the kernel " + kernel + " was given " + next + " of its " + parameters.size() + " arguments");
        }
        return table;
    }
}
