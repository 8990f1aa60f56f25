package dev.baton.model.safetensors;

import dev.baton.model.JsonFile;
import dev.baton.model.ModelException;
import dev.baton.model.Weights;
import dev.baton.model.WeightsDigest;
import dev.baton.tensor.DType;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.NavigableMap;
import java.util.TreeMap;
import java.util.TreeSet;
import tools.jackson.databind.JsonNode;

/// The weights of a folder: `model.safetensors`, or the shards that `model.safetensors.index.json` lists.
///
/// The files are mapped, so opening costs nothing and what is not read is not loaded; tensors end with [#close].
public final class SafetensorsWeights implements Weights {
    private static final String SINGLE = "model.safetensors";
    private static final String INDEX = "model.safetensors.index.json";

    private final Path directory;
    private final Arena arena;
    private final NavigableMap<String, Located> tensors;

    private record Located(Path path, SafetensorsFile.Entry entry) {}

    private SafetensorsWeights(Path directory, Arena arena, NavigableMap<String, Located> tensors) {
        this.directory = directory;
        this.arena = arena;
        this.tensors = tensors;
    }

    /// Maps the files of a folder and checks their headers.
    ///
    /// @throws ModelException naming the file and what is wrong with it
    public static SafetensorsWeights open(Path directory) {
        Arena arena = Arena.ofShared();
        try {
            NavigableMap<String, Located> tensors = new TreeMap<>();
            Path index = directory.resolve(INDEX);
            if (Files.isRegularFile(directory.resolve(SINGLE))) {
                addAll(tensors, SafetensorsFile.open(directory.resolve(SINGLE), arena));
            } else if (Files.isRegularFile(index)) {
                addShards(tensors, index, arena);
            } else {
                throw new ModelException("there is neither " + SINGLE + " nor " + INDEX + " in " + directory
                        + "; to run without weights, choose the load format dummy");
            }
            return new SafetensorsWeights(directory, arena, tensors);
        } catch (RuntimeException | Error e) {
            arena.close();
            throw e;
        }
    }

    private static void addAll(Map<String, Located> tensors, SafetensorsFile file) {
        file.entries().forEach((name, entry) -> tensors.put(name, new Located(file.path(), entry)));
    }

    private static void addShards(Map<String, Located> tensors, Path index, Arena arena) {
        Map<String, String> shardOf = readIndex(index);
        Map<String, SafetensorsFile> shards = new HashMap<>();
        for (String shard : new TreeSet<>(shardOf.values())) {
            Path name = Path.of(shard).getFileName();
            if (name == null || !name.toString().equals(shard)) {
                throw new ModelException(
                        index + " names the shard " + shard + ", which is not a file name in its folder");
            }
            shards.put(shard, SafetensorsFile.open(index.resolveSibling(shard), arena));
        }
        shardOf.forEach((tensor, shard) -> {
            SafetensorsFile file = shards.get(shard);
            SafetensorsFile.Entry entry = file == null ? null : file.entries().get(tensor);
            if (file == null || entry == null) {
                throw new ModelException(
                        index + " says that the tensor " + tensor + " is in " + shard + ", but it is not");
            }
            tensors.put(tensor, new Located(file.path(), entry));
        });
    }

    private static Map<String, String> readIndex(Path index) {
        JsonNode weightMap = JsonFile.readObject(index).path("weight_map");
        if (!weightMap.isObject()) {
            throw new ModelException(index + ": weight_map, an object of tensor name to file name, is missing");
        }
        Map<String, String> shardOf = new TreeMap<>();
        weightMap.properties().forEach(property -> {
            if (!property.getValue().isString()) {
                throw new ModelException(index + ": the file of the tensor " + property.getKey()
                        + " must be a name, not " + property.getValue());
            }
            shardOf.put(property.getKey(), property.getValue().asString());
        });
        return shardOf;
    }

    @Override
    public Tensor tensor(String name, int... shape) {
        Located located = tensors.get(name);
        if (located == null) {
            throw new ModelException("the tensor " + name + " of shape " + Arrays.toString(shape) + " is missing in "
                    + directory + ", which has " + tensors.size() + " tensors" + example());
        }
        long[] needed = Arrays.stream(shape).asLongStream().toArray();
        if (!Arrays.equals(located.entry.shape(), needed)) {
            throw new ModelException(located.path + ": the tensor " + name + " has the shape "
                    + Arrays.toString(located.entry.shape()) + ", config.json asks for " + Arrays.toString(needed));
        }
        DType dtype = SafetensorsFile.dtype(located.path, located.entry);
        return new Tensor(name, dtype, shape.clone(), located.entry.data());
    }

    private String example() {
        return tensors.isEmpty() ? "" : ", the first of them " + tensors.firstKey();
    }

    @Override
    public String digest() {
        WeightsDigest digest = new WeightsDigest();
        tensors.forEach((name, located) ->
                digest.add(name, located.entry.dtype(), located.entry.shape(), located.entry.data()));
        return digest.finish();
    }

    @Override
    public void close() {
        arena.close();
    }
}
