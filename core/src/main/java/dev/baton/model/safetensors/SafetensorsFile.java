package dev.baton.model.safetensors;

import dev.baton.model.JsonFile;
import dev.baton.model.ModelException;
import dev.baton.tensor.DType;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import tools.jackson.databind.JsonNode;

/// One safetensors file, mapped into memory: eight bytes with the length of the header, the header in JSON,
/// then the tensors side by side.
///
/// Everything that the header says is checked before anything is handed out: the format's own rules (offsets in
/// order, without overlap and without holes) and that the file is as long as they say. The memory is valid as
/// long as the arena that the file was opened with; the file must not be cut short meanwhile.
final class SafetensorsFile {
    private static final int LENGTH_BYTES = Long.BYTES;

    /// The format's own limit for a header.
    private static final long MAX_HEADER_BYTES = 100_000_000;

    private static final String METADATA = "__metadata__";
    private static final ValueLayout.OfLong LENGTH = ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    private final Path path;
    private final Map<String, Entry> entries;

    /// One tensor of the file. The element type is as the file spells it, as not every one can be computed with.
    record Entry(String name, String dtype, long[] shape, MemorySegment data) {}

    private SafetensorsFile(Path path, Map<String, Entry> entries) {
        this.path = path;
        this.entries = entries;
    }

    /// Maps a file and checks its header.
    static SafetensorsFile open(Path path, Arena arena) {
        try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ)) {
            long size = channel.size();
            if (size < LENGTH_BYTES) {
                throw new ModelException(path + " is truncated: it has " + size
                        + " bytes, a safetensors file begins with 8 bytes for the length of its header");
            }
            return new SafetensorsFile(path, parse(path, channel.map(FileChannel.MapMode.READ_ONLY, 0, size, arena)));
        } catch (NoSuchFileException e) {
            throw new ModelException("there is no file " + path, e);
        } catch (IOException e) {
            throw new ModelException(path + " cannot be read: " + e.getMessage(), e);
        }
    }

    Path path() {
        return path;
    }

    /// The tensors by name.
    Map<String, Entry> entries() {
        return entries;
    }

    private static Map<String, Entry> parse(Path path, MemorySegment file) {
        long headerBytes = file.get(LENGTH, 0);
        if (headerBytes < 0 || headerBytes > MAX_HEADER_BYTES) {
            throw new ModelException(path + " is not a safetensors file: it says that its header has "
                    + Long.toUnsignedString(headerBytes) + " bytes, at most " + MAX_HEADER_BYTES + " are allowed");
        }
        if (LENGTH_BYTES + headerBytes > file.byteSize()) {
            throw new ModelException(
                    path + " is truncated: its header has " + headerBytes + " bytes, the file only " + file.byteSize());
        }
        byte[] header = file.asSlice(LENGTH_BYTES, headerBytes).toArray(ValueLayout.JAVA_BYTE);
        MemorySegment data = file.asSlice(LENGTH_BYTES + headerBytes);
        JsonNode json = JsonFile.parse(path + ": the header", header);
        if (!json.isObject()) {
            throw new ModelException(path + ": the header must be a JSON object");
        }
        Map<String, Entry> entries = new LinkedHashMap<>();
        List<Extent> extents = new ArrayList<>();
        for (Map.Entry<String, JsonNode> property : json.properties()) {
            if (!property.getKey().equals(METADATA)) {
                Extent extent = extent(path, property.getKey(), property.getValue(), data.byteSize());
                extents.add(extent);
                entries.put(
                        property.getKey(),
                        new Entry(
                                property.getKey(),
                                extent.dtype,
                                extent.shape,
                                data.asSlice(extent.begin, extent.end - extent.begin)));
            }
        }
        checkSideBySide(path, extents, data.byteSize());
        return entries;
    }

    private record Extent(String name, String dtype, long[] shape, long begin, long end) {}

    private static Extent extent(Path path, String name, JsonNode node, long dataBytes) {
        String tensor = path + ": the tensor " + name;
        String dtype = node.path("dtype").asString("");
        int elementBits = elementBits(dtype);
        if (elementBits == 0) {
            throw new ModelException(tensor + " has the unknown element type " + node.path("dtype"));
        }
        long[] shape = longs(node.path("shape"), tensor + " has no valid shape: ");
        long[] offsets = longs(node.path("data_offsets"), tensor + " has no valid data_offsets: ");
        if (offsets.length != 2 || offsets[0] > offsets[1]) {
            throw new ModelException(
                    tensor + " must have two data_offsets, begin and end, not " + node.path("data_offsets"));
        }
        if (offsets[1] > dataBytes) {
            throw new ModelException(tensor + " ends at byte " + offsets[1] + " of the data, but the file holds only "
                    + dataBytes + ": it is truncated or its header is wrong");
        }
        long needed;
        try {
            long elements = 1;
            for (long dimension : shape) {
                elements = Math.multiplyExact(elements, dimension);
            }
            needed = Math.ceilDiv(Math.multiplyExact(elements, (long) elementBits), Byte.SIZE);
        } catch (ArithmeticException e) {
            throw new ModelException(tensor + " has a shape with too many elements: " + node.path("shape"), e);
        }
        if (offsets[1] - offsets[0] != needed) {
            throw new ModelException(tensor + " of type " + dtype + " and shape " + node.path("shape") + " needs "
                    + needed + " bytes, its data_offsets give it " + (offsets[1] - offsets[0]));
        }
        return new Extent(name, dtype, shape, offsets[0], offsets[1]);
    }

    private static long[] longs(JsonNode node, String complaint) {
        if (!node.isArray()) {
            throw new ModelException(complaint + (node.isMissingNode() ? "it is missing" : node.toString()));
        }
        long[] values = new long[node.size()];
        for (int i = 0; i < values.length; i++) {
            JsonNode element = node.get(i);
            if (!element.isIntegralNumber() || !element.canConvertToLong() || element.asLong() < 0) {
                throw new ModelException(complaint + node);
            }
            values[i] = element.asLong();
        }
        return values;
    }

    private static void checkSideBySide(Path path, List<Extent> extents, long dataBytes) {
        extents.sort(Comparator.comparingLong(Extent::begin).thenComparingLong(Extent::end));
        long end = 0;
        String before = "the header";
        for (Extent extent : extents) {
            if (extent.begin != end) {
                throw new ModelException(
                        path + ": the tensor " + extent.name + " begins at byte " + extent.begin + " of the data, but "
                                + before + " ends at " + end + ": tensors must neither overlap nor leave holes");
            }
            end = extent.end;
            before = "the tensor " + extent.name;
        }
        if (end != dataBytes) {
            throw new ModelException(path + ": the last tensor ends at byte " + end
                    + " of the data, but the file holds " + dataBytes + ": tensors must fill it");
        }
    }

    /// Size of an element in the types that the format knows; 0 for a type that it does not know.
    private static int elementBits(String dtype) {
        return switch (dtype) {
            case "F64", "I64", "U64", "C64" -> 64;
            case "F32", "I32", "U32" -> 32;
            case "F16", "BF16", "I16", "U16" -> 16;
            case "F8_E4M3", "F8_E5M2", "F8_E8M0", "I8", "U8", "BOOL" -> 8;
            case "F6_E2M3", "F6_E3M2" -> 6;
            case "F4" -> 4;
            default -> 0;
        };
    }

    /// The type to compute with.
    static DType dtype(Path path, Entry entry) {
        return switch (entry.dtype) {
            case "F32" -> DType.F32;
            case "F16" -> DType.F16;
            case "BF16" -> DType.BF16;
            default ->
                throw new ModelException(path + ": the tensor " + entry.name + " has the element type " + entry.dtype
                        + ", which is not supported; supported: F32, F16, BF16");
        };
    }
}
