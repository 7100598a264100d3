/* core/monitor/main.c
 *
 * The monitor's program. It is embedded in coracle and run from a sealed memory file: nobody starts
 * it by hand.
 */
#include "core/monitor/monitor.h"

int main(void)
{
	return monitor_main();
}
