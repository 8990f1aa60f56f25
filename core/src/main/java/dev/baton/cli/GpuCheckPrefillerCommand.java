package dev.baton.cli;

import dev.baton.transfer.KvConnectors;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferParams;
import dev.baton.transfer.RemotePrefill;
import dev.baton.transfer.tcp.TcpConnector;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import tools.jackson.databind.json.JsonMapper;

/// The other process of `baton gpu-check`'s hand-offs: a prefiller that takes a prompt a line from its standard
/// input, tokens with spaces between them, and answers each with a line of parameters. Before the tokens may stand
/// the id of a transfer, by which a decoder asks for the prompt meanwhile.
@Command(name = "gpu-check-prefiller", hidden = true, description = "A part of gpu-check.")
final class GpuCheckPrefillerCommand implements Callable<Integer> {
    /// What an answer begins with, as other lines may come from elsewhere.
    static final String ANSWER = "kv_transfer_params ";

    /// What a transfer's id begins with.
    static final String TRANSFER = "transfer-";

    /// What it begins with if its prefill is to be aborted; milliseconds and a minus follow.
    static final String ABORTED = TRANSFER + "aborted-";

    @Option(names = "--model", required = true)
    @Nullable
    Path model;

    @Option(names = "--dummy")
    boolean isDummy;

    @Option(names = "--block-size", required = true)
    int blockTokens;

    @Option(names = "--longest", required = true)
    int longest;

    @Option(names = "--step-tokens", required = true)
    int stepTokens;

    @Option(names = "--connector")
    String connector = TcpConnector.NAME;

    @Override
    public Integer call() throws IOException {
        JsonMapper json = JsonMapper.builder().build();
        BufferedReader prompts = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        try (HandOffEngine engine = new HandOffEngine(
                Path.of(String.valueOf(model)),
                isDummy,
                blockTokens,
                longest,
                stepTokens,
                Optional.of(HandOffEngine.transfer(connector, KvRole.KV_PRODUCER, true)),
                KvConnectors::create)) {
            for (String line = prompts.readLine(); line != null; line = prompts.readLine()) {
                List<String> words = List.of(line.split(" ", -1));
                boolean isPushed = words.getFirst().startsWith(TRANSFER);
                KvTransferParams asked = isPushed
                        ? KvTransferParams.REMOTE_DECODE.with(RemotePrefill.TRANSFER_ID, words.getFirst())
                        : KvTransferParams.REMOTE_DECODE;
                int[] prompt = words.stream()
                        .skip(isPushed ? 1 : 0)
                        .mapToInt(Integer::parseInt)
                        .toArray();
                KvTransferParams params = engine.generate(prompt, 1, asked, abortMillis(words.getFirst()))
                        .params();
                System.out.println(ANSWER + json.writeValueAsString(params.fields()));
            }
        }
        return Exit.OK;
    }

    private static long abortMillis(String transfer) {
        return transfer.startsWith(ABORTED)
                ? Long.parseLong(transfer.substring(ABORTED.length(), transfer.indexOf('-', ABORTED.length())))
                : 0;
    }
}
