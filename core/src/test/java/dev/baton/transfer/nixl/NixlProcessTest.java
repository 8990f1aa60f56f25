package dev.baton.transfer.nixl;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.tensor.PagedKv;
import dev.baton.transfer.KvEvent;
import dev.baton.transfer.KvRole;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/// A prefiller in another process, over the real NIXL library; skipped where it is not found.
@Timeout(180)
class NixlProcessTest {
    private static final int TOKENS = 64 * NixlInstance.BLOCK_TOKENS;

    @Test
    void blocksComeFromAnotherProcessUntilItIsKilled() throws IOException {
        Process process = prefiller();
        try (NixlInstance decoder = NixlInstance.decoder(Map.of("kv_peer_timeout", 20))) {
            NixlSource source = source(process);
            int[] here = IntStream.range(0, 64).map(i -> 63 - i).toArray();
            decoder.load("d", source.toParams(), TOKENS, here, 0);
            assertThat(decoder.nextEvent())
                    .isEqualTo(new KvEvent.KvArrived("d", TOKENS, 64 * decoder.pool.blockBytes()));
            try (NixlInstance same =
                    new NixlInstance(KvRole.KV_CONSUMER, "reference", 64, Map.of()).fill(NixlPrefillerMain.SEED)) {
                for (int i = 0; i < 64; i++) {
                    assertThat(decoder.block(here[i])).as("block %d", i).isEqualTo(same.block(i));
                }
            }

            PagedKv pool = decoder.pool;
            process.destroyForcibly().onExit().join();
            pool.segment().fill((byte) 7);
            decoder.load("e", source.toParams(), TOKENS, here, 0);
            assertThat(decoder.nextFailure("e")).contains(source.peer().toString());
        } finally {
            process.destroyForcibly();
        }
    }

    @Test
    void aProcessThatUsedNixlEndsWithoutACrash() throws Exception {
        Process process = prefiller();
        try (OutputStream input = process.getOutputStream()) {
            source(process);
            input.close();
            assertThat(process.waitFor(120, TimeUnit.SECONDS)).as("ended").isTrue();
            assertThat(process.exitValue()).isZero();
        } finally {
            process.destroyForcibly();
        }
    }

    private static Process prefiller() throws IOException {
        NixlInstance.home();
        return new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "-XX:+UseSerialGC",
                        "-XX:ErrorFile=/dev/stderr",
                        "--enable-native-access=ALL-UNNAMED",
                        "-cp",
                        System.getProperty("java.class.path"),
                        NixlPrefillerMain.class.getName())
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start();
    }

    private static NixlSource source(Process process) throws IOException {
        BufferedReader out = process.inputReader(StandardCharsets.UTF_8);
        for (String line = out.readLine(); line != null; line = out.readLine()) {
            if (line.startsWith("held ")) {
                String[] words = line.split(" ", -1);
                List<Integer> blocks = IntStream.range(0, 64).boxed().toList();
                PeerAddress peer = new PeerAddress("prefiller-1", "127.0.0.1", Integer.parseInt(words[1]));
                return new NixlSource(peer, words[2], List.of(0), blocks, 1, OptionalInt.of(TOKENS));
            }
        }
        throw new IOException("the prefiller did not start");
    }
}
