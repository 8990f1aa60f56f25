package dev.baton.model.cuda;

import dev.baton.tensor.cuda.owned.DeviceMemory;

/// Lays a model's tensors out in the device's memory.
final class WeightLoader {
    private static final String WHAT = "the weights";

    private final WeightSource source;
    private final Staging staging;
    private final DeviceMemory memory;

    WeightLoader(WeightSource source, Staging staging, DeviceMemory memory) {
        this.source = source;
        this.staging = staging;
        this.memory = memory;
    }

    /// One of the matrices that stand above each other in a stacked one.
    ///
    /// @param name without `.weight` and `.bias`
    record Part(String name, Span outputs) {}

    /// `NAME.weight` of one dimension.
    long vector(String name, int size) {
        long address = memory.allocate((long) size * Short.BYTES, WHAT);
        source.load(name + ".weight", address, Span.whole(size));
        return address;
    }

    /// Rows of `NAME.weight` of two dimensions.
    long table(String name, Span rows, int columns) {
        long address = memory.allocate((long) rows.count() * columns * Short.BYTES, WHAT);
        source.load(name + ".weight", address, rows, Span.whole(columns));
        return address;
    }

    /// `NAME.weight` of every part, and where there are some `NAME.bias`, one part after the other. Where
    /// inputs are divided the products of all GPUs are summed, so that the first one's alone has a bias.
    CudaLayer.Weight matrix(boolean hasBias, Span inputs, Part... parts) {
        long outputs = 0;
        for (Part part : parts) {
            outputs += part.outputs.count();
        }
        long matrix = memory.allocate(outputs * inputs.count() * Short.BYTES, WHAT);
        long bias = hasBias ? memory.allocate(outputs * Short.BYTES, WHAT) : 0;
        long row = 0;
        for (Part part : parts) {
            source.load(part.name + ".weight", matrix + row * inputs.count() * Short.BYTES, part.outputs, inputs);
            if (hasBias && inputs.first() == 0) {
                source.load(part.name + ".bias", bias + row * Short.BYTES, part.outputs);
            } else if (hasBias) {
                staging.copy(
                        bias + row * Short.BYTES,
                        (long) part.outputs.count() * Short.BYTES,
                        (buffer, _) -> buffer.fill((byte) 0));
            }
            row += part.outputs.count();
        }
        return new CudaLayer.Weight(matrix, bias);
    }

    String digest() {
        return source.digest();
    }
}
