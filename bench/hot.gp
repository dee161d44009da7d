# Holds per second by clients, a panel for each commit latency. Variables: data, names, output_file.
set terminal svg size 980,460 font 'sans-serif,14' background 'white'
set output output_file
set logscale x 2
set logscale y 10
set xlabel 'clients'
set xtics (1, 8, 32, 64)
set xrange [0.9:72]
set ytics format '%.0s%c'
set grid ytics lc rgb '#dddddd'
set key off
stats data using 2 name 'OWN' nooutput
stats data using 3 name 'EMULATED' nooutput
set yrange [0.7 * (OWN_min < EMULATED_min ? OWN_min : EMULATED_min) : 1.5 * (OWN_max > EMULATED_max ? OWN_max : EMULATED_max)]
array colour[7] = ['#d62728', '#555555', '#1f77b4', '#17becf', '#9467bd', '#2ca02c', '#ff7f0e']
width(i) = i == 1 ? 3.5 : 1.8

set multiplot
set size 0.40, 1
set origin 0, 0
set title 'commit latency as it is'
set ylabel 'holds per second'
plot for [i=1:words(names)] data index i-1 using 1:2 with linespoints pt 7 ps 0.5 lw width(i) lc rgb colour[i] title word(names, i)
set size 0.60, 1
set origin 0.40, 0
set title 'commit latency 1 ms'
unset ylabel
set key outside right center vertical Left reverse noenhanced
plot for [i=1:words(names)] data index i-1 using 1:3 with linespoints pt 7 ps 0.5 lw width(i) lc rgb colour[i] title word(names, i)
unset multiplot
