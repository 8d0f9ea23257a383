// The page works without this script: links and forms do everything. The script keeps a view up to date, moves by keys
// and selects rows.
import { startLive } from './live.js';
import { startKeys } from './keys.js';
import { startSelection } from './select.js';

startLive();
startKeys();
startSelection();
