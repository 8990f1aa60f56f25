package dev.baton.transfer.offload;

import static org.awaitility.Awaitility.await;

import dev.baton.transfer.EnginePair;
import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.StoreContract;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.io.TempDir;

/// Two engines that share a directory.
class OffloadContractTest extends StoreContract {
    @TempDir
    Path directory;

    @Override
    protected KvTransferConfig config(Side side, KvLoadFailurePolicy policy) {
        return new KvTransferConfig(
                OffloadingConnector.NAME,
                KvRole.KV_BOTH,
                side.name(),
                "127.0.0.1",
                0,
                policy,
                Map.of("secondary_tiers", List.of(Map.of("type", "fs", "root_dir", directory.toString()))));
    }

    @Override
    protected void awaitSaved(EnginePair pair, int savedTokens) {
        await().atMost(Duration.ofSeconds(20))
                .pollInterval(Duration.ofMillis(2))
                .until(() -> blocks().size() == savedTokens / BLOCK_TOKENS);
    }

    private List<Path> blocks() {
        try (Stream<Path> all = Files.walk(directory)) {
            return all.filter(it -> it.toString().endsWith(".bin")).toList();
        } catch (IOException | UncheckedIOException e) {
            return List.of(); // a file was renamed under the walk
        }
    }

    /// Somebody deletes the files.
    @Override
    protected void sourceDies(EnginePair pair) throws IOException {
        for (Path block : blocks()) {
            boolean _ = Files.deleteIfExists(block);
        }
    }
}
