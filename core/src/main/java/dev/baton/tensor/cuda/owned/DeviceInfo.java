package dev.baton.tensor.cuda.owned;

/// What a device is.
///
/// @param name as NVIDIA has it, for example `NVIDIA H200`
/// @param major first number of the compute capability
/// @param minor second number of the compute capability
/// @param multiprocessors number of streaming multiprocessors
/// @param driverVersion the newest CUDA that the driver knows
public record DeviceInfo(String name, int major, int minor, int multiprocessors, String driverVersion) {
    private static final int HOPPER = 9;

    /// What NVRTC is to compile for. From Hopper on with the instructions that only this generation has.
    public String architecture() {
        return "sm_" + major + minor + (major >= HOPPER ? "a" : "");
    }
}
