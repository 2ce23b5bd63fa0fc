// nested-host: always
import { chosenSeed, describeChaos } from "./chaos-suite.ts";

describeChaos({ kills: 6, longestMs: 300_000, seed: chosenSeed() });
