package dev.baton.tensor.cuda.owned;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.baton.tensor.cuda.checked.Cuda;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;

/// One kernel with its arguments and launch configuration, which are allocated once: a launch allocates nothing.
///
/// Arguments are given in the order of the parameters between [#begin] and [#launch]. Not thread-safe. Ends
/// with the module that it came from.
public final class Kernel {
    /// What a kernel takes.
    public enum Parameter {
        /// 64 bits: an integer or an address of device memory.
        LONG,
        /// 32 bits.
        INT,
        /// 32 bits.
        FLOAT,
        /// A tensor as [Cuda#encodeTensorMap] describes it.
        TENSOR_MAP;

        static final long MOST_SLOT_BYTES = Cuda.TENSOR_MAP_BYTES;

        long slotBytes() {
            return this == TENSOR_MAP ? MOST_SLOT_BYTES : Long.BYTES;
        }
    }

    /// Shared memory that a block gets without being asked.
    private static final int STATIC_SHARED_BYTES = 48 << 10;

    /// `CUlaunchConfig`: grid and block in three numbers each, shared memory, stream, attributes and their number.
    private static final long CONFIGURATION_BYTES = 56;

    private static final long BLOCK_OFFSET = 12;
    private static final long SHARED_OFFSET = 24;
    private static final long STREAM_OFFSET = 32;
    private static final long ATTRIBUTES_OFFSET = 40;
    private static final long NUM_ATTRIBUTES_OFFSET = 48;

    /// `CUlaunchAttribute`: which one, and a union of 64 bytes.
    private static final long ATTRIBUTE_BYTES = 72;

    private static final long ATTRIBUTE_VALUE_OFFSET = 8;
    private static final int PROGRAMMATIC_STREAM_SERIALIZATION = 6;

    private final Cuda cuda;
    private final String name;
    private final long function;
    private final KernelArguments arguments;
    private final MemorySegment configuration;

    Kernel(Cuda cuda, Arena arena, long module, String name, Shape shape, List<Parameter> parameters) {
        this.cuda = cuda;
        this.name = name;
        this.function = cuda.function(module, name);
        this.arguments = new KernelArguments(name, parameters, arena);
        if (shape.sharedBytes > STATIC_SHARED_BYTES) {
            cuda.setFunctionAttribute(function, Cuda.MAX_DYNAMIC_SHARED_BYTES, shape.sharedBytes);
        }
        this.configuration = configuration(arena, shape);
    }

    /// How a kernel's blocks are.
    ///
    /// @param threads of a block
    /// @param sharedBytes dynamic shared memory of a block
    /// @param overlaps whether it may be brought to the device before the work in front of it has ended; it
    ///     waits for that itself
    public record Shape(int threads, int sharedBytes, boolean overlaps) {}

    private static MemorySegment configuration(Arena arena, Shape shape) {
        MemorySegment configuration = arena.allocate(CONFIGURATION_BYTES, Long.BYTES);
        configuration.set(JAVA_INT, BLOCK_OFFSET, shape.threads);
        configuration.set(JAVA_INT, BLOCK_OFFSET + Integer.BYTES, 1);
        configuration.set(JAVA_INT, BLOCK_OFFSET + 2 * Integer.BYTES, 1);
        configuration.set(JAVA_INT, SHARED_OFFSET, shape.sharedBytes);
        if (shape.overlaps) {
            MemorySegment attribute = arena.allocate(ATTRIBUTE_BYTES, Long.BYTES);
            attribute.set(JAVA_INT, 0, PROGRAMMATIC_STREAM_SERIALIZATION);
            attribute.set(JAVA_INT, ATTRIBUTE_VALUE_OFFSET, 1);
            configuration.set(ADDRESS, ATTRIBUTES_OFFSET, attribute);
            configuration.set(JAVA_INT, NUM_ATTRIBUTES_OFFSET, 1);
        }
        return configuration;
    }

    /// Begins the arguments of a launch.
    public Kernel begin() {
        arguments.begin();
        return this;
    }

    /// The next argument, an address or a number of 64 bits.
    public Kernel add(long value) {
        arguments.add(value);
        return this;
    }

    /// The next argument.
    public Kernel add(int value) {
        arguments.add(value);
        return this;
    }

    /// The next argument.
    public Kernel add(float value) {
        arguments.add(value);
        return this;
    }

    /// The next argument, a `CUtensorMap`.
    public Kernel add(MemorySegment map) {
        arguments.add(map);
        return this;
    }

    /// Gives the kernel to a stream.
    public void launch(Stream stream, int gridX, int gridY, int gridZ) {
        configuration.set(JAVA_INT, 0, gridX);
        configuration.set(JAVA_INT, Integer.BYTES, gridY);
        configuration.set(JAVA_INT, 2 * Integer.BYTES, gridZ);
        configuration.set(JAVA_LONG, STREAM_OFFSET, stream.handle());
        cuda.launch(function, name, configuration, arguments.complete());
    }
}
