"""What Rerun shows of bags and running nodes. Needs the library rerun-sdk, and no ROS."""
