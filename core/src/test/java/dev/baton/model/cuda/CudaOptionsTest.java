package dev.baton.model.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.model.ModelException;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/// Where the ranks of a model are.
class CudaOptionsTest {
    private static CudaOptions on(List<Integer> devices) {
        return new CudaOptions(devices, 1024, 8, 256, 16, Map.of(), true);
    }

    @Test
    void ranksAreAsManyAsDevicesAreNamed() {
        assertThat(on(List.of(0, 0, 1, 1)).tensorParallelSize()).isEqualTo(4);
        assertThat(on(List.of(2)).device()).isEqualTo(2);
        assertThat(CudaOptions.firstDevices(3)).containsExactly(0, 1, 2);
    }

    @Test
    void noDeviceIsRefused() {
        assertThatThrownBy(() -> on(List.of())).isInstanceOf(ModelException.class);
    }

    @Test
    void deviceThatIsNotThereIsRefusedWithWhatCanBeSeen() {
        assertThatThrownBy(() -> ParallelDecoder.checkVisible(List.of(0, 2), 2))
                .isInstanceOf(ModelException.class)
                .hasMessageContaining("--tensor-parallel-size is 2")
                .hasMessageContaining("[0, 2]")
                .hasMessageContaining("2 can be seen");
        assertThatThrownBy(() -> ParallelDecoder.checkVisible(List.of(0, -1), 2))
                .isInstanceOf(ModelException.class);
        assertThatCode(() -> ParallelDecoder.checkVisible(List.of(1, 0, 1), 2)).doesNotThrowAnyException();
    }
}
