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
import dev.baton.transfer.nixl.NixlConnector;
import dev.baton.transfer.tcp.TcpConnector;
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
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import tools.jackson.core.type.TypeReference;
import tools.jackson.databind.json.JsonMapper;

/// Hand-offs from a prefiller in a process of its own to a decoder here, from GPU to GPU and over TCP, or over NIXL:
/// the tokens must be those of one engine alone, a damaged block must be found, and nothing may stay allocated.
///
/// The engine alone computes the prompt first, as the prefiller does, and the last token once more, as the
/// decoder does. Used from one thread.
final class HandOffChecks {
    private static final int NEW_TOKENS = 32;
    private static final int TIMED = 8;
    private static final int PUSHES = 3;
    private static final int TIMED_PUSHES = 24;

    /// In so many steps a prompt is computed whose push is disturbed.
    private static final int STEPS = 4;

    /// A prefill that is shorter may have ended before the decoder has asked for it.
    private static final double LONG_PREFILL_MILLIS = 50;
    private static final int TIMED_TOKENS = 7_500;

    /// What the driver may keep of a context's own memory.
    private static final long SLACK_BYTES = 96L << 20;

    private static final Duration PROCESS_END = Duration.ofSeconds(30);

    /// How blocks go from one to the other.
    private enum Way {
        IPC(TcpConnector.NAME, "from GPU to GPU"),
        TCP(TcpConnector.NAME, "over TCP"),
        NIXL(NixlConnector.NAME, "over NIXL");

        final String connector;
        final String text;

        Way(String connector, String text) {
            this.connector = connector;
            this.text = text;
        }
    }

    private final List<Way> ways;
    private final Path folder;
    private final boolean isDummy;
    private final int blockTokens;
    private final int device;
    private final List<int[]> prompts;
    private final int longest;
    private final List<CheckResult> results = new ArrayList<>();

    private HandOffChecks(List<Way> ways, Path folder, boolean isDummy, int blockTokens, int device, long seed) {
        this.ways = ways;
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

    /// Runs those of the TCP connector.
    ///
    /// @param folder with the model, or with `config.json` alone if the weights are random
    /// @param device GPU of the prefiller; 0 is the decoder's
    static List<CheckResult> run(Path folder, boolean isDummy, int blockTokens, int device, long seed) {
        return run(new HandOffChecks(List.of(Way.IPC, Way.TCP), folder, isDummy, blockTokens, device, seed));
    }

    /// Runs those of the NIXL connector, which needs NIXL's library; see [#run(Path, boolean, int, int, long)].
    static List<CheckResult> nixl(Path folder, boolean isDummy, int blockTokens, int device, long seed) {
        return run(new HandOffChecks(List.of(Way.NIXL), folder, isDummy, blockTokens, device, seed));
    }

    private static List<CheckResult> run(HandOffChecks checks) {
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
        try (Prefiller prefiller = new Prefiller(longest + HandOffEngine.SPARE_TOKENS)) {
            for (Way way : ways) {
                decode(prefiller, way, expected);
            }
        }
    }

    private void decode(Prefiller prefiller, Way by, List<List<Integer>> expected) throws IOException {
        String way = by.text;
        WatchedConnector watched = new WatchedConnector(by != Way.NIXL);
        try (HandOffEngine decoder = new HandOffEngine(
                folder,
                isDummy,
                blockTokens,
                longest,
                Optional.of(HandOffEngine.transfer(by.connector, KvRole.KV_CONSUMER, by == Way.IPC)),
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
                    switch (by) {
                        case IPC -> watched.pulls() > 0 && watched.writes() == 0;
                        case TCP -> watched.pulls() == 0 && watched.writes() > 0;
                        case NIXL -> watched.pulls() == 0 && watched.writes() == 0;
                    });
            expect(
                    way + ", every hand-off was loaded",
                    watched.stats().bytesTransferred() > 0 && watched.stats().numFailedTransfers() == 0);
            if (by != Way.NIXL) {
                push(prefiller, decoder, watched, by == Way.IPC);
            }
            if (by != Way.TCP) {
                expect("checksums of the GPU are those of the host", watched.sumsAgree());
                damage(prefiller, decoder, watched);
            }
            if (by == Way.IPC) {
                interrupt(decoder, watched);
            }
            if (isDummy) {
                time(prefiller, decoder, watched, way);
                if (by != Way.NIXL) {
                    timePushes(prefiller, decoder, watched, way);
                }
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

    /// Prompts with both engines asked at once, and, for comparison, fetched after the prefill. The blocks go over
    /// layer by layer while they are computed.
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
                        isLong
                                ? "pushed, most is copied from GPU to GPU while the prompt is computed"
                                : "pushed, blocks are copied from GPU to GPU",
                        watched.pulls() > pullsBefore
                                && watched.writes() == 0
                                && early <= bytes
                                && (early > bytes / 2 || !isLong)
                                && after.numChecksumErrors() == before.numChecksumErrors());
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

    /// Pushes of prompts that are computed in several steps, which end in every way that there is.
    private void interrupt(HandOffEngine decoder, WatchedConnector watched) throws IOException {
        Random random = new Random(blockTokens);
        try (Prefiller chunked = new Prefiller(Math.ceilDiv(longest, STEPS))) {
            long millis = 0;
            KvTransferParams held = KvTransferParams.NONE;
            for (int i = 0; i < 2; i++) { // the first answer waits for the process to start
                long start = System.nanoTime();
                int[] first = prompt(random, longest);
                held = chunked.prefill(first);
                millis = (System.nanoTime() - start) / 1_000_000;
                HandOffEngine.Answer _ = decoder.generate(first, 1, held);
            }
            for (Interruption way : Interruption.values()) {
                int[] prompt = prompt(random, longest);
                long cut = Math.max(1, millis / 3);
                String transfer = (way == Interruption.PREFILL_ABORTED
                                ? GpuCheckPrefillerCommand.ABORTED + cut + "-"
                                : GpuCheckPrefillerCommand.TRANSFER)
                        + way;
                KvTransferStats before = watched.stats();
                long earlyBefore = watched.bytesBeforeFirstToken();
                if (way == Interruption.BYTE_FLIPPED) {
                    watched.flip(1);
                }
                chunked.begin(transfer + " ", prompt);
                if (way == Interruption.PREFILLER_KILLED) {
                    chunked.killIn(cut);
                }
                HandOffEngine.Answer answer = decoder.generate(
                        prompt, NEW_TOKENS, underWay(transfer, held), way == Interruption.DECODE_ABORTED ? cut : 0);
                if (way != Interruption.PREFILLER_KILLED) {
                    KvTransferParams _ = chunked.answer();
                }
                KvTransferStats after = watched.stats();
                long found = after.numChecksumErrors() - before.numChecksumErrors();
                boolean isWhole = answer.tokens().size() == NEW_TOKENS;
                // A short prefill may be over before.
                boolean isLong = millis > LONG_PREFILL_MILLIS;
                boolean wentAs = !isLong
                        || switch (way) {
                            case NONE, BYTE_FLIPPED -> answer.externalTokens() > 0;
                            case PREFILL_ABORTED, PREFILLER_KILLED -> answer.externalTokens() == 0;
                            case DECODE_ABORTED -> !isWhole;
                        };
                expect(
                        "pushed in %d steps, %s".formatted(STEPS, way.words),
                        wentAs
                                && (isWhole || way == Interruption.DECODE_ABORTED)
                                && found == (way == Interruption.BYTE_FLIPPED ? 1 : 0));
                System.out.printf(
                        Locale.ROOT,
                        "       %s: %d tokens, %d of the prompt's handed over, %.1f MB before the first token%n",
                        way.words,
                        answer.tokens().size(),
                        answer.externalTokens(),
                        (watched.bytesBeforeFirstToken() - earlyBefore) / 1e6);
            }
        }
        int[] alone = prompt(random, longest);
        expect(
                "the decoder computes on when its prefiller was killed",
                decoder.generate(alone, NEW_TOKENS, KvTransferParams.NONE)
                                .tokens()
                                .size()
                        == NEW_TOKENS);
    }

    /// What happens to a push.
    private enum Interruption {
        NONE("not disturbed"),
        BYTE_FLIPPED("with a byte flipped in what is copied first"),
        PREFILL_ABORTED("the prefill aborted"),
        DECODE_ABORTED("the decode aborted"),
        PREFILLER_KILLED("the prefiller's process killed");

        private final String words;

        Interruption(String words) {
            this.words = words;
        }
    }

    /// Prints what pushes take when nothing but the clock is read.
    private void timePushes(Prefiller prefiller, HandOffEngine decoder, WatchedConnector watched, String way)
            throws IOException {
        Random random = new Random(longest + 1L);
        int[] any = prompt(random, blockTokens + 1);
        KvTransferParams held = prefiller.prefill(any);
        HandOffEngine.Answer _ = decoder.generate(any, 1, held);
        double[] alone = new double[TIMED_PUSHES];
        Pushes byLayers = new Pushes();
        Pushes behind = new Pushes();
        for (int i = 0; i < TIMED_PUSHES; i++) {
            int[] prompt = prompt(random, TIMED_TOKENS);
            long start = System.nanoTime();
            KvTransferParams pulled = prefiller.prefill(prompt);
            alone[i] = (System.nanoTime() - start) / 1e6;
            HandOffEngine.Answer _ = decoder.generate(prompt, 1, pulled);
            for (boolean isByLayers : new boolean[] {true, false}) {
                watched.pullParts(isByLayers);
                int[] other = prompt(random, TIMED_TOKENS);
                String transfer = "%stimed-%s-%s-%d"
                        .formatted(GpuCheckPrefillerCommand.TRANSFER, way.replace(' ', '-'), isByLayers, i);
                KvTransferStats before = watched.stats();
                prefiller.begin(transfer + " ", other);
                HandOffEngine.Answer pushed = decoder.generate(other, 3, underWay(transfer, held));
                KvTransferParams _ = prefiller.answer();
                double blocks = (watched.stats().xferNanos() - before.xferNanos()) / 1e6;
                (isByLayers ? byLayers : behind).add(i, pushed, blocks - pushed.firstTokenMillis());
            }
        }
        watched.pullParts(true);
        System.out.printf(Locale.ROOT, "       %s, %d prompts in turn: prefill %s%n", way, TIMED_PUSHES, spread(alone));
        byLayers.print("pushed layer by layer");
        behind.print(watched.writes() > 0 ? "the same" : "pushed, copied behind the prefill");
    }

    /// What some pushes took.
    private static final class Pushes {
        private final double[] first = new double[TIMED_PUSHES];
        private final double[] second = new double[TIMED_PUSHES];
        private final double[] blocks = new double[TIMED_PUSHES];

        /// @param blocksMillis from the first token to the last block
        void add(int i, HandOffEngine.Answer answer, double blocksMillis) {
            first[i] = answer.firstTokenMillis();
            second[i] = answer.secondTokenMillis() - first[i];
            blocks[i] = blocksMillis;
        }

        void print(String what) {
            System.out.printf(
                    Locale.ROOT,
                    "       %s: first token %s, from it to the last block %s, to the second token %s%n",
                    what,
                    spread(first),
                    spread(blocks),
                    spread(second));
        }
    }

    private static String spread(double[] millis) {
        double[] sorted = Arrays.stream(millis).sorted().toArray();
        return String.format(
                Locale.ROOT, "%.2f ms (%.2f to %.2f)", sorted[sorted.length / 2], sorted[0], sorted[sorted.length - 1]);
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
                "       %s, %d tokens in blocks of %d, %d MB: median %.2f ms (%.2f to %.2f), %.0f GB/s; copies and checksums"
                        + " here %.2f ms, checksums alone %.2f ms (medians)%n",
                way,
                TIMED_TOKENS,
                blockTokens,
                bytes / 1_000_000,
                millis[TIMED / 2],
                millis[0],
                millis[TIMED - 1],
                bytes / 1e6 / millis[TIMED / 2],
                watched.pullMillis(TIMED),
                watched.sumMillis(TIMED));
    }

    /// The other process.
    private final class Prefiller implements AutoCloseable {
        private final Process process;
        private final PrintWriter prompts;
        private final BufferedReader answers;
        private final JsonMapper json = JsonMapper.builder().build();

        /// @param stepTokens tokens of a prompt that are computed at a time
        Prefiller(int stepTokens) throws IOException {
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
                    Integer.toString(longest),
                    "--step-tokens",
                    Integer.toString(stepTokens),
                    "--connector",
                    ways.getFirst().connector));
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

        /// Ends the process in a moment, without a word to it.
        void killIn(long millis) {
            CompletableFuture.delayedExecutor(millis, TimeUnit.MILLISECONDS).execute(process::destroyForcibly);
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
