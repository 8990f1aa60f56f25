package dev.baton.cli;

import dev.baton.model.CausalLm;
import dev.baton.model.LoadOptions;
import dev.baton.model.ModelLoader;
import dev.baton.model.cuda.ModelChecks;
import dev.baton.tensor.cuda.check.CheckResult;
import dev.baton.tensor.cuda.owned.Context;
import dev.baton.transfer.KvConnectors;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.KvTransferStats;
import dev.baton.transfer.RemotePrefill;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.lang.ProcessBuilder.Redirect;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import tools.jackson.core.type.TypeReference;
import tools.jackson.databind.json.JsonMapper;

/// Hand-offs from a prefiller in a process of its own to a decoder here, from GPU to GPU and over TCP: the tokens
/// must be those of one engine alone, a damaged block must be found, and nothing may stay allocated.
///
/// The engine alone computes the prompt first, as the prefiller does, and the last token once more, as the
/// decoder does. Used from one thread.
final class HandOffChecks {
    private static final int NEW_TOKENS = 32;
    private static final int TIMED = 8;
    private static final int PUSHES = 3;

    /// A prefill that is shorter may have ended before the decoder has asked for it.
    private static final double LONG_PREFILL_MILLIS = 50;
    private static final int TIMED_TOKENS = 7_500;

    /// What the driver may keep of a context's own memory.
    private static final long SLACK_BYTES = 96L << 20;

    private static final Duration PROCESS_END = Duration.ofSeconds(30);

    private final Path folder;
    private final boolean isDummy;
    private final int blockTokens;
    private final int device;
    private final List<int[]> prompts;
    private final int longest;
    private final List<CheckResult> results = new ArrayList<>();

    private HandOffChecks(Path folder, boolean isDummy, int blockTokens, int device, long seed) {
        this.folder = folder;
        this.isDummy = isDummy;
        this.blockTokens = blockTokens;
        this.device = device;
        Random random = new Random(seed);
        List<Integer> lengths = new ArrayList<>(List.of(1, 2, 7));
        lengths.replaceAll(blocks -> blocks * blockTokens + 1);
        if (isDummy) {
            lengths.add(TIMED_TOKENS);
        }
        this.prompts = lengths.stream().map(length -> prompt(random, length)).toList();
        this.longest = lengths.getLast();
    }

    private static int[] prompt(Random random, int length) {
        return random.ints(length, 5, 4_000).toArray();
    }

    /// Runs all of them.
    ///
    /// @param folder with the model, or with `config.json` alone if the weights are random
    /// @param device GPU of the prefiller; 0 is the decoder's
    static List<CheckResult> run(Path folder, boolean isDummy, int blockTokens, int device, long seed) {
        HandOffChecks checks = new HandOffChecks(folder, isDummy, blockTokens, device, seed);
        try (Context context = Context.open(0, System.getenv())) {
            long before = context.memory().freeBytes();
            checks.handOffs();
            context.makeCurrent();
            checks.expect("all memory of the GPU is given back", checks.isFree(context, before - SLACK_BYTES));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return checks.results;
    }

    private void expect(String what, boolean isSo) {
        String name = "hand-off, %s: %s".formatted(folder.getFileName(), what);
        results.add(new CheckResult(name, isSo ? 0 : 1, 0));
    }

    private boolean isFree(Context context, long bytes) {
        long end = System.nanoTime() + PROCESS_END.toNanos();
        while (context.memory().freeBytes() < bytes) {
            if (System.nanoTime() > end) {
                long taken = (bytes + SLACK_BYTES - context.memory().freeBytes()) >> 20;
                System.out.printf(Locale.ROOT, "       still taken: %d MiB%n", taken);
                return false;
            }
            try {
                TimeUnit.MILLISECONDS.sleep(50);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                return false;
            }
        }
        return true;
    }

    private void handOffs() throws IOException {
        List<List<Integer>> expected = new ArrayList<>();
        if (!isDummy) {
            try (HandOffEngine alone =
                    new HandOffEngine(folder, false, blockTokens, longest, Optional.empty(), KvConnectors::create)) {
                for (int[] prompt : prompts) {
                    HandOffEngine.Answer _ = alone.generate(prompt, 1, KvTransferParams.NONE);
                    expected.add(alone.generate(prompt, NEW_TOKENS, KvTransferParams.NONE)
                            .tokens());
                }
            }
        }
        try (Prefiller prefiller = new Prefiller()) {
            for (boolean isShared : new boolean[] {true, false}) {
                decode(prefiller, isShared, expected);
            }
        }
    }

    private void decode(Prefiller prefiller, boolean isShared, List<List<Integer>> expected) throws IOException {
        String way = isShared ? "from GPU to GPU" : "over TCP";
        WatchedConnector watched = new WatchedConnector();
        try (HandOffEngine decoder = new HandOffEngine(
                folder,
                isDummy,
                blockTokens,
                longest,
                Optional.of(HandOffEngine.transfer(KvRole.KV_CONSUMER, isShared)),
                watched)) {
            for (int i = 0; i < prompts.size(); i++) {
                int[] prompt = prompts.get(i);
                HandOffEngine.Answer answer = decoder.generate(prompt, NEW_TOKENS, prefiller.prefill(prompt));
                results.add(new CheckResult(
                        "hand-off, %s: %s, tokens after %d".formatted(folder.getFileName(), way, prompt.length),
                        error(prompt, answer, expected.isEmpty() ? List.of() : expected.get(i)),
                        ModelChecks.tolerance()));
            }
            expect(
                    way + ", blocks went that way and no other",
                    isShared
                            ? watched.pulls() > 0 && watched.writes() == 0
                            : watched.pulls() == 0 && watched.writes() > 0);
            push(prefiller, decoder, watched, isShared);
            if (isShared) {
                expect("checksums of the GPU are those of the host", watched.sumsAgree());
                damage(prefiller, decoder, watched);
            }
            if (isDummy) {
                time(prefiller, decoder, watched, way);
            }
        }
    }

    /// How far an answer is from that of one engine alone: not at all, or as far as the CPU's logits say, as two
    /// engines may have found other products the fastest. Of random weights it is only known that there is one.
    private double error(int[] prompt, HandOffEngine.Answer answer, List<Integer> expected) {
        if (answer.externalTokens() == 0 || answer.tokens().size() != NEW_TOKENS) {
            return Double.NaN;
        }
        if (isDummy || answer.tokens().equals(expected)) {
            return 0;
        }
        try (CausalLm cpu = ModelLoader.load(folder, LoadOptions.defaults())) {
            int[] tokens = answer.tokens().stream().mapToInt(Integer::intValue).toArray();
            return ModelChecks.distanceFromGreedy(cpu, prompt, tokens);
        }
    }

    /// Prompts with both engines asked at once, and, for comparison, fetched after the prefill. Over TCP the
    /// blocks go over layer by layer while they are computed; from GPU to GPU they are copied behind the first
    /// token.
    private void push(Prefiller prefiller, HandOffEngine decoder, WatchedConnector watched, boolean isShared)
            throws IOException {
        String way = isShared ? "from GPU to GPU" : "over TCP";
        Random random = new Random(longest);
        for (int round = 0; round < PUSHES; round++) {
            int[] prompt = prompt(random, longest);
            long start = System.nanoTime();
            KvTransferParams held = prefiller.prefill(prompt);
            double prefillMillis = (System.nanoTime() - start) / 1e6;
            HandOffEngine.Answer pulled = decoder.generate(prompt, 2, held);

            int[] other = prompt(random, longest);
            String transfer = GpuCheckPrefillerCommand.TRANSFER + isShared + round;
            int pullsBefore = watched.pulls();
            long earlyBefore = watched.bytesBeforeFirstToken();
            KvTransferStats before = watched.stats();
            prefiller.begin(transfer + " ", other);
            HandOffEngine.Answer pushed = decoder.generate(other, NEW_TOKENS, underWay(transfer, held));
            KvTransferParams _ = prefiller.answer();
            KvTransferStats after = watched.stats();
            long early = watched.bytesBeforeFirstToken() - earlyBefore;
            long bytes = after.bytesTransferred() - before.bytesTransferred();
            results.add(new CheckResult(
                    "hand-off, %s: pushed while it is computed %s, tokens after %d"
                            .formatted(folder.getFileName(), way, other.length),
                    error(other, pushed, List.of()),
                    ModelChecks.tolerance()));
            boolean isLong = prefillMillis > LONG_PREFILL_MILLIS;
            if (isShared) {
                expect(
                        "pushed, blocks are copied from GPU to GPU, behind the first token",
                        watched.pulls() == pullsBefore + 1 && early == 0);
            } else {
                expect(
                        isLong
                                ? "pushed, blocks come while the prompt is computed"
                                : "pushed, no more blocks come early than there are",
                        early <= bytes && (early > 0 || !isLong));
            }
            System.out.printf(
                    Locale.ROOT,
                    "       %d tokens in blocks of %d: fetched %s, first token after %.1f + %.1f ms; pushed, after"
                            + " %.1f ms, all blocks after %.1f ms, %.1f of %.1f MB before the first token%n",
                    longest,
                    blockTokens,
                    way,
                    prefillMillis,
                    pulled.firstTokenMillis(),
                    pushed.firstTokenMillis(),
                    (after.xferNanos() - before.xferNanos()) / 1e6,
                    early / 1e6,
                    bytes / 1e6);
        }
    }

    /// What a router says to a decoder of a prompt that the prefiller of another one computes now.
    private static KvTransferParams underWay(String transfer, KvTransferParams held) {
        return new KvTransferParams(Map.of(
                "do_remote_prefill",
                true,
                RemotePrefill.TRANSFER_ID,
                transfer,
                "remote_engine_id",
                held.requiredText("remote_engine_id"),
                "remote_host",
                held.requiredText("remote_host"),
                "remote_port",
                held.requiredNumber("remote_port", 1)));
    }

    private void damage(Prefiller prefiller, HandOffEngine decoder, WatchedConnector watched) throws IOException {
        Random random = new Random(prompts.size());
        for (int times = 1; times <= 2; times++) {
            KvTransferStats before = watched.stats();
            int[] prompt = prompt(random, 3 * blockTokens + 1);
            watched.flip(times);
            List<Integer> tokens = decoder.generate(prompt, NEW_TOKENS, prefiller.prefill(prompt))
                    .tokens();
            KvTransferStats after = watched.stats();
            long found = after.numChecksumErrors() - before.numChecksumErrors();
            long failed = after.numFailedTransfers() - before.numFailedTransfers();
            expect(
                    "a flipped byte is found "
                            + (times == 1 ? "and fetched again" : "twice and the prompt computed here"),
                    tokens.size() == NEW_TOKENS && found == times && failed == times - 1);
        }
    }

    /// Prints what a transfer of the longest prompt takes, of others than those before.
    private void time(Prefiller prefiller, HandOffEngine decoder, WatchedConnector watched, String way)
            throws IOException {
        watched.onlyTime();
        Random random = new Random(prompts.size());
        double[] millis = new double[TIMED];
        long bytes = 0;
        for (int i = 0; i < TIMED; i++) {
            KvTransferStats before = watched.stats();
            int[] prompt = prompt(random, TIMED_TOKENS);
            HandOffEngine.Answer _ = decoder.generate(prompt, 1, prefiller.prefill(prompt));
            KvTransferStats after = watched.stats();
            millis[i] = (after.xferNanos() - before.xferNanos()) / 1e6;
            bytes = after.bytesTransferred() - before.bytesTransferred();
        }
        Arrays.sort(millis);
        System.out.printf(
                Locale.ROOT,
                "       %s, %d tokens in blocks of %d, %d MB: median %.2f ms (%.2f to %.2f), %.0f GB/s; copies and checksums here %.2f ms (median)%n",
                way,
                TIMED_TOKENS,
                blockTokens,
                bytes / 1_000_000,
                millis[TIMED / 2],
                millis[0],
                millis[TIMED - 1],
                bytes / 1e6 / millis[TIMED / 2],
                watched.pullMillis(TIMED));
    }

    /// The other process.
    private final class Prefiller implements AutoCloseable {
        private final Process process;
        private final PrintWriter prompts;
        private final BufferedReader answers;
        private final JsonMapper json = JsonMapper.builder().build();

        Prefiller() throws IOException {
            ProcessHandle.Info self = ProcessHandle.current().info();
            List<String> command = new ArrayList<>(List.of(
                    self.command().orElse("java"),
                    "-Xmx2g",
                    "--enable-native-access=ALL-UNNAMED",
                    "--add-modules",
                    "jdk.incubator.vector",
                    "-cp",
                    System.getProperty("java.class.path"),
                    Main.class.getName(),
                    "gpu-check-prefiller",
                    "--model",
                    folder.toString(),
                    "--block-size",
                    Integer.toString(blockTokens),
                    "--longest",
                    Integer.toString(longest)));
            if (isDummy) {
                command.add("--dummy");
            }
            ProcessBuilder builder = new ProcessBuilder(command).redirectError(Redirect.INHERIT);
            if (device != 0) {
                builder.environment().put("CUDA_VISIBLE_DEVICES", Integer.toString(device));
            }
            process = builder.start();
            prompts = new PrintWriter(process.outputWriter(StandardCharsets.UTF_8), true);
            answers = new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
        }

        KvTransferParams prefill(int[] prompt) throws IOException {
            begin("", prompt);
            return answer();
        }

        /// @param before the id of a transfer and a space, or nothing
        void begin(String before, int[] prompt) {
            prompts.println(
                    Arrays.stream(prompt).mapToObj(Integer::toString).collect(Collectors.joining(" ", before, "")));
        }

        KvTransferParams answer() throws IOException {
            for (String line = answers.readLine(); line != null; line = answers.readLine()) {
                if (line.startsWith(GpuCheckPrefillerCommand.ANSWER)) {
                    Map<String, Object> fields = json.readValue(
                            line.substring(GpuCheckPrefillerCommand.ANSWER.length()), new TypeReference<>() {});
                    return new KvTransferParams(fields);
                }
            }
            throw new IOException("the prefiller's process has ended");
        }

        @Override
        public void close() {
            prompts.close();
            try {
                if (!process.waitFor(PROCESS_END.toMillis(), TimeUnit.MILLISECONDS)) {
                    process.destroyForcibly();
                }
            } catch (InterruptedException e) {
                process.destroyForcibly();
                Thread.currentThread().interrupt();
            }
        }
    }
}
