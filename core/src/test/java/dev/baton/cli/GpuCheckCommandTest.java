package dev.baton.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import picocli.CommandLine;

/// Which GPUs `baton gpu-check` takes for ranks.
@Timeout(60)
class GpuCheckCommandTest {
    private static List<Integer> devices(String... words) {
        GpuCheckCommand command = new GpuCheckCommand();
        new CommandLine(command).parseArgs(words);
        return GpuCheckCommand.devices(command.devices, command.tensorParallelSize);
    }

    @Test
    void ranksTakeTheFirstGpusUnlessTheyAreNamed() {
        assertThat(devices()).containsExactly(0);
        assertThat(devices("--tensor-parallel-size", "4")).containsExactly(0, 1, 2, 3);
    }

    @Test
    void namedGpusAreTheRanks() {
        assertThat(devices("--devices", "0,0,1,1")).containsExactly(0, 0, 1, 1);
        assertThat(devices("--devices", "1,0", "--tensor-parallel-size", "2")).containsExactly(1, 0);
    }

    @Test
    void anotherNumberOfGpusThanRanksIsWrongUsageBeforeAnyIsOpened() {
        assertThatThrownBy(() -> devices("--devices", "0,0", "--tensor-parallel-size", "4"))
                .hasMessage("--devices names 2 GPUs, --tensor-parallel-size is 4");
        ByteArrayOutputStream text = new ByteArrayOutputStream();
        PrintStream before = System.err;
        System.setErr(new PrintStream(text, true, StandardCharsets.UTF_8));
        try {
            assertThat(Main.run(Map.of(), "gpu-check", "--devices", "0,0", "--tensor-parallel-size", "4"))
                    .isEqualTo(Exit.USAGE);
        } finally {
            System.setErr(before);
        }
        assertThat(text.toString(StandardCharsets.UTF_8)).contains("--devices names 2 GPUs");
    }
}
