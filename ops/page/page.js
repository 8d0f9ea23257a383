// The page works without this script: links and forms do everything. The script keeps a view up to date, moves by keys,
// selects rows and reads plots.
import { startLive } from './live.js';
import { startKeys } from './keys.js';
import { startSelection } from './select.js';
import { startPlots } from './plot.js';

startLive();
startKeys();
startSelection();
startPlots();
