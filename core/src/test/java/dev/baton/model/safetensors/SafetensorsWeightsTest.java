package dev.baton.model.safetensors;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.model.ModelException;
import dev.baton.model.Weights;
import dev.baton.tensor.DType;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// The reader on good files, and its sentence for each kind of bad one.
class SafetensorsWeightsTest {
    private static final String TWO_TENSORS = """
            {"__metadata__":{"format":"pt"},
             "a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},
             "b":{"dtype":"BF16","shape":[4],"data_offsets":[16,24]}}""";

    @TempDir
    Path directory;

    private void write(String name, String header, int dataBytes) throws IOException {
        byte[] json = header.getBytes(StandardCharsets.UTF_8);
        ByteBuffer file = ByteBuffer.allocate(8 + json.length + dataBytes).order(ByteOrder.LITTLE_ENDIAN);
        file.putLong(json.length).put(json);
        for (int i = 0; file.remaining() >= 4; i++) {
            file.putFloat(i + 1);
        }
        Files.write(directory.resolve(name), file.array());
    }

    private void writeSingle(String header, int dataBytes) throws IOException {
        write("model.safetensors", header, dataBytes);
    }

    private void assertRefused(String... parts) {
        assertThatThrownBy(() -> SafetensorsWeights.open(directory).close())
                .isInstanceOf(ModelException.class)
                .hasMessageContainingAll(parts);
    }

    @Test
    void tensorsAreReadByName() throws IOException {
        writeSingle(TWO_TENSORS, 24);
        try (Weights weights = SafetensorsWeights.open(directory)) {
            assertThat(weights.tensor("a", 2, 2).toFloats()).containsExactly(1, 2, 3, 4);
            assertThat(weights.tensor("a", 2, 2).matrix().get(1, 0)).isEqualTo(3f);
            Weights.Tensor b = weights.tensor("b", 4);
            assertThat(b.dtype()).isEqualTo(DType.BF16);
            assertThat(b.toFloats()).containsExactly(0, 5, 0, 6);
        }
    }

    @Test
    void missingTensorsAndOtherShapesAreNamed() throws IOException {
        writeSingle(TWO_TENSORS, 24);
        try (Weights weights = SafetensorsWeights.open(directory)) {
            assertThatThrownBy(() -> weights.tensor("c", 7))
                    .isInstanceOf(ModelException.class)
                    .hasMessageContainingAll(
                            "the tensor c of shape [7] is missing", "has 2 tensors", "first of them a");
            assertThatThrownBy(() -> weights.tensor("a", 4, 1))
                    .hasMessageContainingAll("the tensor a has the shape [2, 2]", "asks for [4, 1]");
        }
    }

    @Test
    void shardsAreReadThroughTheIndexAndGiveTheDigestOfOneFile() throws IOException {
        writeSingle(TWO_TENSORS, 24);
        String whole;
        try (Weights weights = SafetensorsWeights.open(directory)) {
            whole = weights.digest();
        }
        byte[] file = Files.readAllBytes(directory.resolve("model.safetensors"));
        Files.delete(directory.resolve("model.safetensors"));
        byte[] data = Arrays.copyOfRange(file, file.length - 24, file.length);
        writeShard(
                "one.safetensors", "{\"b\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[0,8]}}", data, 16, 24);
        writeShard(
                "two.safetensors", "{\"a\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]}}", data, 0, 16);
        writeIndex("{\"weight_map\":{\"a\":\"two.safetensors\",\"b\":\"one.safetensors\"}}");
        try (Weights weights = SafetensorsWeights.open(directory)) {
            assertThat(weights.tensor("a", 2, 2).toFloats()).containsExactly(1, 2, 3, 4);
            assertThat(weights.tensor("b", 4).toFloats()).containsExactly(0, 5, 0, 6);
            assertThat(weights.digest()).isEqualTo(whole);
        }
        writeIndex("{\"weight_map\":{\"a\":\"one.safetensors\"}}");
        assertRefused("index.json says that the tensor a is in one.safetensors, but it is not");
        writeIndex("{\"weight_map\":{\"a\":\"three.safetensors\"}}");
        assertRefused("there is no file", "three.safetensors");
        writeIndex("{\"weight_map\":{\"a\":\"../one.safetensors\"}}");
        assertRefused("../one.safetensors, which is not a file name in its folder");
        writeIndex("{\"weights\":{}}");
        assertRefused("weight_map", "is missing");
        writeIndex("{");
        assertRefused("index.json is not valid JSON: it ends too early, at line 1, column 2");
    }

    private void writeShard(String name, String header, byte[] data, int from, int to) throws IOException {
        byte[] json = header.getBytes(StandardCharsets.UTF_8);
        ByteBuffer file = ByteBuffer.allocate(8 + json.length + to - from).order(ByteOrder.LITTLE_ENDIAN);
        file.putLong(json.length).put(json).put(data, from, to - from);
        Files.write(directory.resolve(name), file.array());
    }

    private void writeIndex(String json) throws IOException {
        Files.writeString(directory.resolve("model.safetensors.index.json"), json);
    }

    @Test
    void digestChangesWithEveryByteNameAndShape() throws IOException {
        writeSingle(TWO_TENSORS, 24);
        String original = digest();
        assertThat(digest()).isEqualTo(original).hasSize(64);
        byte[] file = Files.readAllBytes(directory.resolve("model.safetensors"));
        for (int i = file.length - 24; i < file.length; i++) {
            byte[] changed = file.clone();
            changed[i] ^= 1;
            Files.write(directory.resolve("model.safetensors"), changed);
            assertThat(digest()).as("byte %d", i).isNotEqualTo(original);
        }
        writeSingle(TWO_TENSORS.replace("[2,2]", "[4,1]"), 24);
        assertThat(digest()).isNotEqualTo(original);
        writeSingle(TWO_TENSORS.replace("\"b\"", "\"c\""), 24);
        assertThat(digest()).isNotEqualTo(original);
    }

    private String digest() {
        try (Weights weights = SafetensorsWeights.open(directory)) {
            return weights.digest();
        }
    }

    @Test
    void emptyFolderIsNamedWithTheWayOut() {
        assertRefused("neither model.safetensors nor model.safetensors.index.json", "load format dummy");
    }

    @Test
    void truncatedFilesAreNamed() throws IOException {
        Path file = directory.resolve("model.safetensors");
        Files.write(file, new byte[5]);
        assertRefused("model.safetensors is truncated: it has 5 bytes");
        writeSingle(TWO_TENSORS, 24);
        byte[] whole = Files.readAllBytes(file);
        for (int length = 0; length < whole.length; length++) {
            Files.write(file, Arrays.copyOf(whole, length));
            assertRefused("truncated");
        }
        Files.write(file, Arrays.copyOf(whole, whole.length + 1));
        assertRefused("the last tensor ends at byte 24", "holds 25");
    }

    @Test
    void headersThatAreNoHeadersAreNamed() throws IOException {
        Files.write(directory.resolve("model.safetensors"), "version https://git-lfs".getBytes(StandardCharsets.UTF_8));
        assertRefused("is not a safetensors file: it says that its header has");
        writeSingle("{\"a\":", 0);
        assertRefused("the header is not valid JSON: it ends too early, at line 1, column ");
        writeSingle("[]", 0);
        assertRefused("the header must be a JSON object");
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "{'dtype':'F7','shape':[2],'data_offsets':[0,8]} | unknown element type \"F7\"",
                "{'shape':[2],'data_offsets':[0,8]} | unknown element type",
                "{'dtype':'F32','data_offsets':[0,8]} | no valid shape: it is missing",
                "{'dtype':'F32','shape':[-2],'data_offsets':[0,8]} | no valid shape: [-2]",
                "{'dtype':'F32','shape':[2.5],'data_offsets':[0,8]} | no valid shape: [2.5]",
                "{'dtype':'F32','shape':[2]} | no valid data_offsets: it is missing",
                "{'dtype':'F32','shape':[2],'data_offsets':[8,0]} | two data_offsets, begin and end, not [8,0]",
                "{'dtype':'F32','shape':[2],'data_offsets':[0]} | two data_offsets",
                "{'dtype':'F32','shape':[4],'data_offsets':[0,16]} | ends at byte 16 of the data, but the file holds only 8",
                "{'dtype':'F32','shape':[1],'data_offsets':[0,8]} | shape [1] needs 4 bytes, its data_offsets give it 8",
                "{'dtype':'F32','shape':[4294967296,4294967296],'data_offsets':[0,8]} | too many elements",
                "{'dtype':'F32','shape':[1],'data_offsets':[4,8]} | begins at byte 4 of the data, but the header ends at 0",
            })
    void wrongTensorsAreNamed(String entry, String message) throws IOException {
        writeSingle("{\"w\":" + entry.replace('\'', '"') + "}", 8);
        assertRefused("the tensor w", message.strip());
    }

    @Test
    void overlapsAndHolesAreNamed() throws IOException {
        writeSingle(TWO_TENSORS.replace("[16,24]", "[12,20]"), 24);
        assertRefused("the tensor b begins at byte 12", "the tensor a ends at 16", "neither overlap nor leave holes");
        writeSingle(TWO_TENSORS.replace("[16,24]", "[18,26]"), 26);
        assertRefused("the tensor b begins at byte 18");
    }

    @Test
    void typesThatCannotBeComputedWithAreRefusedWhenAskedFor() throws IOException {
        writeSingle("{\"w\":{\"dtype\":\"F8_E4M3\",\"shape\":[8],\"data_offsets\":[0,8]}}", 8);
        try (Weights weights = SafetensorsWeights.open(directory)) {
            assertThatThrownBy(() -> weights.tensor("w", 8))
                    .hasMessageContainingAll("the tensor w has the element type F8_E4M3", "F32, F16, BF16");
        }
    }
}
