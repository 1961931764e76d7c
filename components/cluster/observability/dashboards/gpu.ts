// Dashboard of the accelerators: what they do, what holds them back, and their errors, from NVIDIA's DCGM exporter.

import {
  annotations,
  type Dashboard,
  increase,
  ofPods,
  rate,
  type Target,
  type Unit,
  variables,
} from "./model.ts";

const legend = "{{node}} GPU {{gpu}} {{pod}}";
const mebibyte = 1024 * 1024;
const megahertz = 1_000_000;
/** Throttling is counted in nanoseconds. */
const perSecond = 1_000_000_000;

function gpu(metric: string, factor = 1): Target[] {
  const selector = ofPods(metric);
  return [{ expr: factor === 1 ? selector : `${factor} * ${selector}`, legend }];
}

function line(title: string, unit: Unit, targets: readonly Target[], description?: string) {
  return { title, unit, targets, ...(description === undefined ? {} : { description }) };
}

function throttled(reason: string, metric: string): Target {
  return { expr: `${rate(ofPods(metric))} / ${perSecond}`, legend: `${reason} ${legend}` };
}

export const gpuDashboard: Dashboard = {
  uid: "llmeval-gpu",
  title: "GPUs",
  description: "Use, clocks, power, memory, throttling and errors of each GPU.",
  variables,
  annotations,
  rows: [
    {
      title: "Use",
      panels: [
        line(
          "Utilisation",
          "percent",
          gpu("DCGM_FI_DEV_GPU_UTIL"),
          "Share of time with any kernel on the GPU.",
        ),
        line("SMs active", "share", gpu("DCGM_FI_PROF_SM_ACTIVE")),
        line("Tensor cores active", "share", gpu("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE")),
        line("Memory interface active", "share", gpu("DCGM_FI_PROF_DRAM_ACTIVE")),
        line("Memory used", "bytes", gpu("DCGM_FI_DEV_FB_USED", mebibyte)),
        line("Memory free", "bytes", gpu("DCGM_FI_DEV_FB_FREE", mebibyte)),
        line("PCIe", "bytesPerSecond", [
          { expr: ofPods("DCGM_FI_PROF_PCIE_TX_BYTES"), legend: `out ${legend}` },
          { expr: ofPods("DCGM_FI_PROF_PCIE_RX_BYTES"), legend: `in ${legend}` },
        ]),
      ],
    },
    {
      title: "Power, clocks and temperature",
      panels: [
        line("Power and its limit", "watts", [
          { expr: ofPods("DCGM_FI_DEV_POWER_USAGE"), legend: `draw ${legend}` },
          { expr: ofPods("DCGM_FI_DEV_POWER_MGMT_LIMIT"), legend: `limit ${legend}` },
        ]),
        line("SM clock", "hertz", gpu("DCGM_FI_DEV_SM_CLOCK", megahertz)),
        line("Memory clock", "hertz", gpu("DCGM_FI_DEV_MEM_CLOCK", megahertz)),
        line("Temperature", "celsius", [
          { expr: ofPods("DCGM_FI_DEV_GPU_TEMP"), legend: `GPU ${legend}` },
          { expr: ofPods("DCGM_FI_DEV_MEMORY_TEMP"), legend: `memory ${legend}` },
        ]),
        line("Share of time throttled", "share", [
          throttled("power", "DCGM_FI_DEV_POWER_VIOLATION"),
          throttled("heat", "DCGM_FI_DEV_THERMAL_VIOLATION"),
          throttled("reliability", "DCGM_FI_DEV_RELIABILITY_VIOLATION"),
        ]),
        line("Reasons for lower clocks", "count", [
          { expr: ofPods("DCGM_EXP_CLOCK_EVENTS_COUNT"), legend: `{{clock_event}} ${legend}` },
        ]),
      ],
    },
    {
      title: "Errors",
      panels: [
        line(
          "XID",
          "count",
          [
            { expr: ofPods("DCGM_FI_DEV_XID_ERRORS"), legend: `last code ${legend}` },
            { expr: ofPods("DCGM_EXP_XID_ERRORS_COUNT"), legend: `count of {{xid}} ${legend}` },
          ],
          "The code of the last error stays until the driver is loaded anew.",
        ),
        line("ECC errors", "count", [
          { expr: ofPods("DCGM_FI_DEV_ECC_SBE_VOL_TOTAL"), legend: `corrected ${legend}` },
          { expr: ofPods("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL"), legend: `not corrected ${legend}` },
        ]),
        line("PCIe retries", "count", [
          { expr: increase(ofPods("DCGM_FI_DEV_PCIE_REPLAY_COUNTER")), legend },
        ]),
      ],
    },
  ],
};
