package dev.baton.model.cuda;

import dev.baton.tensor.cuda.owned.DeviceMemory;

/// Lays a model's tensors out in the device's memory.
final class WeightLoader {
    private static final String WHAT = "the weights";

    private final WeightSource source;
    private final DeviceMemory memory;

    WeightLoader(WeightSource source, DeviceMemory memory) {
        this.source = source;
        this.memory = memory;
    }

    /// One of the matrices that stand above each other in a stacked one.
    ///
    /// @param name without `.weight` and `.bias`
    record Part(String name, int outputs) {}

    /// `NAME.weight` of one dimension.
    long vector(String name, int size) {
        long address = memory.allocate((long) size * Short.BYTES, WHAT);
        source.load(name + ".weight", address, size);
        return address;
    }

    /// `NAME.weight` of two dimensions.
    long table(String name, int rows, int columns) {
        long address = memory.allocate((long) rows * columns * Short.BYTES, WHAT);
        source.load(name + ".weight", address, rows, columns);
        return address;
    }

    /// `NAME.weight` of every part, and where there are some `NAME.bias`, one part after the other.
    CudaLayer.Weight matrix(boolean hasBias, int inputs, Part... parts) {
        long outputs = 0;
        for (Part part : parts) {
            outputs += part.outputs;
        }
        long matrix = memory.allocate(outputs * inputs * Short.BYTES, WHAT);
        long bias = hasBias ? memory.allocate(outputs * Short.BYTES, WHAT) : 0;
        long row = 0;
        for (Part part : parts) {
            source.load(part.name + ".weight", matrix + row * inputs * Short.BYTES, part.outputs, inputs);
            if (hasBias) {
                source.load(part.name + ".bias", bias + row * Short.BYTES, part.outputs);
            }
            row += part.outputs;
        }
        return new CudaLayer.Weight(matrix, bias);
    }

    String digest() {
        return source.digest();
    }
}
