package dev.baton.cli;

import dev.baton.transfer.KvTransferConfig;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/// Flags about the hand-over of KV blocks.
@Command
final class KvTransferOptions {
    @Option(
            names = "--kv-transfer-config",
            paramLabel = ConfigOption.JSON_LABEL,
            converter = KvTransferConfigConverter.class,
            description = "How KV blocks are exchanged, for example"
                    + " '{\"kv_connector\": \"TcpConnector\", \"kv_role\": \"kv_producer\"}'.")
    private @Nullable KvTransferConfig config;

    Optional<KvTransferConfig> config() {
        return Optional.ofNullable(config);
    }
}
